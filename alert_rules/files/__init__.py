"""The only readers of disk in this package: rule files and routing files."""
