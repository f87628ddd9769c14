"""What a process needs to run the journey: its loop, heartbeat, caches, counters and wiring."""
