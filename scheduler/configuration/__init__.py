"""The scheduler's configuration file: KubeSchedulerConfiguration of kubescheduler.config.k8s.io/v1.

    document ──▶ profiles: which plugins at which extension points (plugin_sets), with which arguments (plugin_args)

Everything that is wrong with a document is told at once, each with the path of its field; what nobody knows is wrong.

Source: https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/
"""
