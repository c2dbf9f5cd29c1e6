# Short names for what is in scripts/. Each installs what it needs, and needs no further step.

.DEFAULT_GOAL := help
.PHONY: help demo test model campaign fuzz bench results peers install-tools

help: ## Show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

demo: ## Back up two days of a real disk, walk in, take files out, restore (DEMO_SIZE=full|medium|small)
	@scripts/demo.sh

test: ## Format, lints, documents and all tests
	@scripts/test.sh

model: ## Let a checker decide who goes on where threads meet (MODEL_TIMES=20 for more schedules, MODEL_SEED=7 for others)
	@scripts/model.sh

campaign: ## The long search: power loss, kills, faults, damage, threads, hostile bytes (CAMPAIGN_MINUTES=40)
	@scripts/campaign.sh

fuzz: ## Let libFuzzer loose on every decoder, a minute each (FUZZ='10 manifest ext' for 10 seconds on those)
	@scripts/fuzz.sh $(FUZZ)

bench: ## Criterion benches of the engine (BENCH=hash for some of them)
	@scripts/bench.sh

results: ## Measure everything that benches/RESULTS.md tells, and write it
	@scripts/results.sh all $(RESULTS)

peers: ## The same of restic, rustic, borg and desync beside icecore only (RESULTS='--runs 3')
	@scripts/results.sh peers $(RESULTS)

install-tools:
	@scripts/install-tools.sh test
	@scripts/install-tools.sh demo
