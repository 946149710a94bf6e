"""The harness: plan, engine, referee, suspicion, statistics."""
