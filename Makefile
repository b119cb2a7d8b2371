SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# The packages of "make test", "make unit" and "make bench": make test PKG=./relay/...
PKG ?= ./...
# How long one package may take: long, since a wait that gets on no more fails by itself.
TIMEOUT ?= 60m
# How many packages "make test" tests at a time: most of them wait for a server now and then.
PARALLEL ?= $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 1))))
# How long "make fuzz" tries each target: make fuzz FUZZTIME=10m
FUZZTIME ?= 10s

# This module and those in directories below it, such as examples/adapter. Packages that
# PKG names are of this module.
MODULES := . $(if $(filter ./...,$(PKG)),$(patsubst %/go.mod,%,$(wildcard */go.mod */*/go.mod)))

# $(call each,COMMAND) runs it in every module, and stops at the first that fails.
each = @for module in $(MODULES); do (cd $$module && { set -x; $(1); }); done

.PHONY: help
help: ## this list
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { gsub(/[$$][$$]/, "$$", $$2); printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## the command, as bin/waybill, and all packages
	$(call each,$(GO) build ./...)
	@$(GO) build -o bin/ ./cmd/waybill

# What "make lean" has in it: make lean LEAN="mysql kafka"
LEAN ?= postgres rabbitmq

.PHONY: lean
lean: ## the command for a server, as bin/waybill-lean, with what LEAN names and no other driver
	$(GO) build -tags "waybill_lean $(addprefix waybill_,$(LEAN))" -ldflags '-s -w' -o bin/waybill-lean ./cmd/waybill

.PHONY: test
test: ## every test, with the race detector, against real servers, which it installs, starts and stops
	$(if $(or $(filter ./...,$(PKG)),$(findstring test/foreign,$(PKG))),scripts/foreign install)
	WAYBILL_TEST_REQUIRE=1 scripts/services run -- $(MAKE) --no-print-directory race

# SQLite, which is C turned into Go, keeps its data outside of Go's memory, where the race
# detector sees nothing: watching it costs ten times the time and finds nothing. Its driver,
# which hands it Go's data, is watched.
# What "go vet" finds, "make vet" does; without what debuggers need, programs are linked sooner.
RACE := -race -vet=off -ldflags=-w -gcflags=modernc.org/...lib...=-race=false

# These take longest, so they begin first.
LONGEST := ./test/journey ./test/crash ./store/postgres ./store/mysql ./cmd/waybill/... ./relay ./broker/kafka ./broker/amqp1 ./broker/stomp

.PHONY: race
race:
	$(call each,$(GO) test $(RACE) -p $(PARALLEL) -timeout $(TIMEOUT) \
		$(if $(filter ./...,$(PKG)),$$([[ $$module != . ]] || echo $(LONGEST))) $(PKG))

.PHONY: unit
unit: ## the tests that need no server; the others are skipped
	$(call each,$(GO) test -timeout $(TIMEOUT) $(PKG))

.PHONY: fmt
fmt: ## formats the Go files
	gofmt -w .

.PHONY: fmt-check
fmt-check:
	@unformatted=$$(gofmt -l .); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):" $$unformatted >&2; exit 1; fi

.PHONY: vet
vet: ## go vet
	$(call each,$(GO) vet ./...)

.PHONY: lint
lint: ## golangci-lint, which it installs at first
	$(call each,$(CURDIR)/scripts/golangci-lint run --config $(CURDIR)/.golangci.yml ./...)

.PHONY: bench
bench: ## every benchmark, against real servers
	scripts/services run -- $(MAKE) --no-print-directory bench-only

.PHONY: bench-only
bench-only:
	$(call each,$(GO) test -run '^$$' -bench . -benchmem -timeout $(TIMEOUT) $(PKG))

# The suite kills and restarts the servers, so one package at a time uses them.
.PHONY: brokers-table
brokers-table: ## writes the table of docs/operate/brokers.md; kills and restarts this checkout's brokers
	WAYBILL_TEST_REQUIRE=1 WAYBILL_TEST_SERVICES=$(CURDIR)/scripts/services \
		scripts/services run activemq artemis rabbitmq nats kafka -- bash -o pipefail -c \
		'$(GO) test -p 1 -count=1 -timeout $(TIMEOUT) -json -run Conformance ./broker/... | $(GO) run ./scripts/brokers docs/operate/brokers.md'

.PHONY: foreign-table
foreign-table: ## writes the tables of docs/use/foreign.md: what becomes of other programs' messages
	scripts/foreign install jms python
	WAYBILL_TEST_REQUIRE=1 scripts/services run activemq artemis rabbitmq nats kafka -- \
		$(GO) test -count=1 -timeout $(TIMEOUT) -run TestForeignPrograms ./test/foreign -update

.PHONY: fuzz
fuzz: ## every parser of outside input, with made-up input for FUZZTIME each
	GO="$(GO)" scripts/fuzz $(FUZZTIME) $(PKG)

.PHONY: screenshots
screenshots: ## makes the pictures of the page in docs/screenshots, with Debian's chromium
	$(GO) run ./scripts/screenshots docs/screenshots

.PHONY: demo
demo: ## the whole journey, with faults, on the embedded defaults
	$(GO) run -tags waybill_lean,waybill_demo ./cmd/waybill demo

.PHONY: torture
torture: ## breaks everything on purpose for minutes, on real servers, and judges the result
	scripts/torture

.PHONY: torture-each
torture-each: ## the same with every fault alone, which takes about twenty minutes
	EACH=1 scripts/torture

# What "make mutants" plants, all by default: make mutants MUTANTS="none no_record"
MUTANTS ?=

.PHONY: crash
crash: ## kills processes at every pair of steps, of which "make test" draws some
	WAYBILL_CRASH_PAIRS=all $(GO) test -count=1 -v -run Pair -timeout 2h ./test/crash | grep -v '^ *\(=== \|--- PASS: TestEveryPairOfPoints/\)'

.PHONY: mutants
mutants: ## plants bugs, one at a time, and shows that torture catches each
	scripts/services run postgres -- $(GO) run ./scripts/mutants $(MUTANTS)

.PHONY: model
model: ## checks the protocol's model with TLC, which it fetches, and that planted faults are found
	scripts/tlc

.PHONY: services-start
services-start: ## starts the servers for the tests: eval "$$(scripts/services env)"
	scripts/services start

.PHONY: services-stop
services-stop: ## stops them
	scripts/services stop

.PHONY: ci
ci: ## what CI runs
	.ci/run

.PHONY: clean
clean: ## stops the servers and deletes what they and the build left
	scripts/services stop
	scripts/services wipe all
	rm -rf .services .torture bin
