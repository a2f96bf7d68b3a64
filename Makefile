# Everything else is one command already: see docs/development.md.

.PHONY: chaos
chaos:
	CHAOS_POWER_CUTS=10000 CHAOS_IO_FAULTS=800 CHAOS_KILLS=1000 CHAOS_SOAK_EVENTS=100000 .venv/bin/pytest tests/chaos
