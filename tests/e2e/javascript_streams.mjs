// What `test_e2e_clients.py` has Node.js do in a pod that runs, with the official JavaScript client.
//
//     node javascript_streams.mjs NAMESPACE POD CONTAINER PORT, with CLIENT the client's folder and KUBECONFIG
//
// It prints what it has seen as one JSON document.

import { createServer } from 'node:net';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { pathToFileURL } from 'node:url';

const k8s = await import(pathToFileURL(`${process.env.CLIENT}/node_modules/@kubernetes/client-node/dist/index.js`));
const [namespace, pod, container, port] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromDefault();

// A stream that keeps what is written to it.
function page() {
  const stream = new PassThrough();
  stream.text = '';
  stream.on('data', (piece) => (stream.text += piece));
  return stream;
}

// [standard output, standard error, exit status] of a command.
async function run(command, input) {
  const [out, err] = [page(), page()];
  const typed = input === undefined ? null : new PassThrough().end(input);
  const status = await new Promise((done, failed) =>
    new k8s.Exec(config)
      .exec(namespace, pod, container, command, out, err, typed, false, (told) => setImmediate(done, told))
      .catch(failed),
  );
  return [out.text, err.text, status.status === 'Success' ? 0 : Number(status.details.causes[0].message)];
}

async function followed() {
  const out = page();
  const request = await new k8s.Log(config).log(namespace, pod, container, out, { follow: true, tailLines: 1 });
  while (out.text.split('\n').length < 3) await once(out, 'data');
  request.abort();
  return out.text.split('\n')[0];
}

async function attached() {
  const out = page();
  const socket = await new k8s.Attach(config).attach(namespace, pod, container, out, null, null, false);
  while (!out.text.includes('\n')) await once(out, 'data');
  socket.close();
  return out.text.split('\n')[0];
}

async function forwarded() {
  const forward = new k8s.PortForward(config);
  const server = createServer((socket) => forward.portForward(namespace, pod, [Number(port)], socket, null, socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (await fetch(`http://127.0.0.1:${server.address().port}/`)).status;
}

const seen = {
  failed: await run(['sh', '-c', 'echo out; echo err >&2; exit 3']),
  typed: await run(['cat'], 'all of it'),
  followed: await followed(),
  attached: await attached(),
  forwarded: await forwarded(),
};
process.stdout.write(JSON.stringify(seen));
process.exit(0);
