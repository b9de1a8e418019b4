"""The engines that tenants share. Each package observes, decides and acts on one, and alone imports its client."""
