"""What the workflow runs on: images, a cluster, servers on one machine."""
