"""The whole system on one machine: `watchkeeper up`."""
