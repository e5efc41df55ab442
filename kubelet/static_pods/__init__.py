"""Static pods: what a node runs because a file on it says so, and the mirrors that show them in the API.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""
