"""The backend for pods. See docs/kubernetes.md."""
