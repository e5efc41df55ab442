// What `test_javascript_client.py` has Node.js do with the official JavaScript client.
//
//     node javascript_client.mjs SCENARIO NAMESPACE, with CLIENT the client's folder and KUBECONFIG
//
// Each scenario prints what it has seen as one JSON document.

import { pathToFileURL } from 'node:url';

const folder = `${process.env.CLIENT}/node_modules/@kubernetes/client-node/dist/index.js`;
const k8s = await import(pathToFileURL(folder));
const [scenario, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

const named = (name, data) => ({ metadata: { name, labels: { of: scenario } }, data });
const deployment = (name) => ({
  metadata: { name },
  spec: {
    replicas: 1,
    selector: { matchLabels: { app: name } },
    template: { metadata: { labels: { app: name } }, spec: { containers: [{ name: 'c', image: 'i:1' }] } },
  },
});

// Resolves once `done` says so of what has been collected, however often `push` is called.
function collector(done) {
  const seen = [];
  let resolve;
  const complete = new Promise((ok) => (resolve = ok));
  return { seen, complete, push: (item) => (seen.push(item), done(seen) && resolve(seen)) };
}

const scenarios = {
  async objects() {
    const made = await apps.createNamespacedDeployment({ namespace, body: deployment('web') });
    made.spec.replicas = 2;
    const replaced = await apps.replaceNamespacedDeployment({ namespace, name: 'web', body: made });
    const patched = await apps.patchNamespacedDeployment(
      { namespace, name: 'web', body: [{ op: 'replace', path: '/spec/replicas', value: 3 }] },
      k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.JsonPatch),
    );
    const scale = await apps.readNamespacedDeploymentScale({ namespace, name: 'web' });
    const listed = await apps.listNamespacedDeployment({ namespace, fieldSelector: 'metadata.name=web' });
    const gone = await apps.deleteNamespacedDeployment({ namespace, name: 'web' });
    return {
      replicas: [made, replaced, patched, scale].map((one) => one.spec.replicas),
      created: patched.metadata.creationTimestamp instanceof Date,
      listed: listed.items.map((one) => one.metadata.name),
      gone: gone.status,
    };
  },

  async apply() {
    const objects = k8s.KubernetesObjectApi.makeApiClient(config);
    const spec = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied', namespace }, data: { x: '1' } };
    const patch = (data, manager, force) =>
      objects.patch({ ...spec, data }, undefined, undefined, manager, force, k8s.PatchStrategy.ServerSideApply);
    await patch({ x: '1' }, 'one');
    const conflict = await patch({ x: '2' }, 'two').catch((error) => error.code);
    const forced = await patch({ x: '2' }, 'two', true);
    const read = await objects.read(spec);
    await objects.delete(spec);
    return { conflict, forced: forced.data, managers: read.metadata.managedFields.map((one) => one.manager) };
  },

  async watch() {
    const { metadata } = await core.listNamespacedConfigMap({ namespace });
    const events = collector((seen) => seen.length === 3);
    const request = await new k8s.Watch(config).watch(
      `/api/v1/namespaces/${namespace}/configmaps`,
      { labelSelector: 'of=watch', resourceVersion: metadata.resourceVersion },
      (type, object) => events.push([type, object.data.x]),
      () => {},
    );
    await core.createNamespacedConfigMap({ namespace, body: named('watched', { x: '1' }) });
    await core.patchNamespacedConfigMap(
      { namespace, name: 'watched', body: { data: { x: '2' } } },
      k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
    );
    await core.deleteNamespacedConfigMap({ namespace, name: 'watched' });
    const seen = await events.complete;
    request.abort();
    return seen;
  },

  async informer() {
    await core.createNamespacedConfigMap({ namespace, body: named('before', { x: '1' }) });
    const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'of=informer' });
    const path = `/api/v1/namespaces/${namespace}/configmaps`;
    const informer = k8s.makeInformer(config, path, list, 'of=informer');
    const events = collector((seen) => seen.length === 4);
    for (const kind of ['add', 'update', 'delete']) {
      informer.on(kind, (object) => events.push([kind, object.metadata.name, object.data.x]));
    }
    await informer.start();
    await core.createNamespacedConfigMap({ namespace, body: named('after', { x: '2' }) });
    const replaced = named('before', { x: '3' });
    await core.replaceNamespacedConfigMap({ namespace, name: 'before', body: replaced });
    await core.deleteNamespacedConfigMap({ namespace, name: 'after' });
    const seen = await events.complete;
    const cached = informer.list(namespace).map((object) => object.metadata.name);
    await informer.stop();
    return { seen, cached };
  },

  async errors() {
    const missing = await core.readNamespacedPod({ namespace, name: 'none' }).catch((error) => error);
    const wrong = await apps
      .createNamespacedDeployment({ namespace, body: { ...deployment('web'), spec: { ...deployment('web').spec, replicas: -1 } } })
      .catch((error) => error);
    const told = (error) => [error.code, JSON.parse(error.body).reason];
    return { missing: told(missing), wrong: told(wrong), causes: JSON.parse(wrong.body).details.causes };
  },

  async custom() {
    const extensions = config.makeApiClient(k8s.ApiextensionsV1Api);
    const custom = config.makeApiClient(k8s.CustomObjectsApi);
    const group = `${namespace}.example.com`;
    const where = { group, version: 'v1', plural: 'widgets', namespace };
    const schema = { openAPIV3Schema: { type: 'object', properties: { spec: { type: 'object', properties: { size: { type: 'integer', _default: 1 } } } } } };
    await extensions.createCustomResourceDefinition({
      body: {
        metadata: { name: `widgets.${group}` },
        spec: {
          group,
          scope: 'Namespaced',
          names: { plural: 'widgets', kind: 'Widget' },
          versions: [{ name: 'v1', served: true, storage: true, schema }],
        },
      },
    });
    let made;
    for (let tries = 0; made === undefined; tries += 1) {
      const body = { apiVersion: `${group}/v1`, kind: 'Widget', metadata: { name: 'w' }, spec: {} };
      made = await custom.createNamespacedCustomObject({ ...where, body }).catch((error) => {
        if (error.code !== 404 || tries > 100) throw error;
        return new Promise((later) => setTimeout(later, 50));
      });
    }
    const listed = await custom.listNamespacedCustomObject(where);
    await custom.deleteNamespacedCustomObject({ ...where, name: 'w' });
    await extensions.deleteCustomResourceDefinition({ name: `widgets.${group}` });
    return { size: made.spec.size, listed: listed.items.map((one) => one.metadata.name) };
  },
};

process.stdout.write(JSON.stringify(await scenarios[scenario]()));
process.exit(0);
