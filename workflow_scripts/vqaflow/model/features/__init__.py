"""Image features, each computed once and kept for epochs, orders, jobs and runs."""
