# Every target is one line over deploy/dev.py, so a machine without make loses nothing:
# `python3 deploy/dev.py TARGET` does the same. ARGS="..." is passed on.
PYTHON ?= python3
ARGS ?=
.DEFAULT_GOAL := help

TARGETS := help setup run demo lint check test test-fast bench bench-generations oracle simulate check-fal fmt lock clean

.PHONY: $(TARGETS)
$(TARGETS):
	@$(PYTHON) deploy/dev.py $@ $(ARGS)
