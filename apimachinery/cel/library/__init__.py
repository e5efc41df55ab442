"""The functions of Kubernetes 1.35, one module a library; `table` has them all.

Source: https://kubernetes.io/docs/reference/using-api/cel/#cel-options-language-features-and-libraries
"""
