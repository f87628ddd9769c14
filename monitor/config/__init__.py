"""What people write: settings, manifests, references to secrets."""
