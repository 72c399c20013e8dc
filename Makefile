# Everything a person or CI runs. `make help` lists the targets.
.DEFAULT_GOAL := all

.PHONY: run
run: ## Install missing packages, build and start the gateway with the demo agent; UPSTREAM=http://... takes another agent
	@scripts/install-deps.sh build
	@$(MAKE) --no-print-directory all
	@BUILD=$(BUILD) UPSTREAM=$(UPSTREAM) scripts/run-demo.sh

.PHONY: check
check: ## Install missing packages, build, and run every test
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory all unit-tests laws
	@scripts/run-tests.sh $(BUILD) $(UNIT_TESTS) tests/integration tests/browser

# ---- what is built --------------------------------------------------------------------------------

BUILD ?= build
PREFIX ?= /usr/local
SANITIZE ?=
WERROR ?= -Werror
# V=1 shows the commands.
Q := $(if $(V),,@)

ROOMS := server config http routes relay broadcaster upstream base
LIBRARIES := libmicrohttpd libcurl libuv libcjson libcyaml yaml-0.1 libssl libcrypto hiredis

SOURCES := $(wildcard $(addsuffix /*.c,$(ROOMS)))
LIBRARY_SOURCES := $(filter-out server/main.c,$(SOURCES))
UNIT_SOURCES := $(wildcard tests/unit/test_*.c)
AGENT_SOURCES := $(wildcard tests/support/demo_*.c)
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
BENCH_SOURCES := $(wildcard tests/bench/*.c)
FORMATTED := $(wildcard $(foreach room,$(ROOMS) tests/unit tests/support tests/fuzz tests/scarcity tests/bench,$(room)/*.c $(room)/*.h))

OBJECTS = $(patsubst %.c,$(BUILD)/%.o,$(1))
UNIT_TESTS := $(patsubst %.c,$(BUILD)/%,$(UNIT_SOURCES))
FUZZERS := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SOURCES))
# The tests that have threads: what the thread sanitizer and helgrind look at.
THREADED_TESTS = $(patsubst %.c,$(BUILD)/%,$(shell grep -lE 'pthread_create|unit_(worker|routes)\.h|unit/[a-z_]*(server|fixture|recorder|stream)\.h' $(UNIT_SOURCES)))

NOT_FOR_VALGRIND := $(BUILD)/tests/unit/test_http_descriptors

# NDEBUG is never defined: asserts stay in what is shipped.
CFLAGS ?= -g $(if $(SANITIZE),-O1,-O2)
ALL_CPPFLAGS := -I. -D_GNU_SOURCE $(CPPFLAGS)
ALL_CFLAGS := -std=gnu17 -Wall -Wextra -Wpedantic -Wshadow -Wconversion $(WERROR) -fPIE -pthread $(CFLAGS)
ALL_LDFLAGS := -pie -pthread $(LDFLAGS)
LDLIBS := $(shell pkg-config --libs $(LIBRARIES) 2>/dev/null) -lm

ifneq ($(SANITIZE),)
ALL_CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -fno-omit-frame-pointer
ALL_LDFLAGS += -fsanitize=$(SANITIZE)
else
ALL_CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
ALL_CFLAGS += -fstack-protector-strong -fstack-clash-protection
ALL_LDFLAGS += -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack
endif

.PHONY: all
all: $(BUILD)/sluice $(BUILD)/demo-agent ## Build the gateway and the demo agent

.PHONY: unit-tests
unit-tests: $(UNIT_TESTS)

$(BUILD)/sluice: $(call OBJECTS,server/main.c) $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/demo-agent: $(call OBJECTS,$(AGENT_SOURCES)) $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(UNIT_TESTS): %: %.o $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ -lcmocka $(LDLIBS)

# This test makes the choice of an upstream itself.
$(BUILD)/tests/unit/test_session_keeper: ALL_LDFLAGS += -Wl,--wrap=upstreams_choose

$(FUZZERS): %: %.o $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# The gateway with a malloc that fails when a test says so. That runs before the sanitizer is ready, and must call it
# last (-O2), for the sanitizer looks at who called.
SCARCE := tests/scarcity/failing_malloc.c
$(BUILD)/scarcity/sluice: $(call OBJECTS,server/main.c $(SCARCE)) $(BUILD)/libsluice.a
	@echo '  link     $@'
	@mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$(call OBJECTS,$(SCARCE)): ALL_CFLAGS += -fno-sanitize=all -O2

$(BUILD)/libsluice.a: $(call OBJECTS,$(LIBRARY_SOURCES))
	@rm -f $@
	@echo '  archive  $@'
	$(Q)$(AR) qcs $@ $^

$(BUILD)/%.o: %.c Makefile | $(BUILD)/libraries
	@mkdir -p $(@D)
	@echo '  compile  $<'
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# The page is embedded.
$(call OBJECTS,routes/demo.c): routes/demo.html

$(BUILD)/libraries:
	@pkg-config --print-errors --exists $(LIBRARIES) || { echo 'run scripts/install-deps.sh build' >&2; exit 1; }
	@mkdir -p $(@D) && touch $@

-include $(patsubst %.o,%.d,$(call OBJECTS,$(SOURCES) $(UNIT_SOURCES) $(AGENT_SOURCES) $(FUZZ_SOURCES) $(BENCH_SOURCES) $(SCARCE)))
.SECONDARY:

# ---- tests ----------------------------------------------------------------------------------------

.PHONY: check-unit
check-unit: unit-tests ## Run the unit tests
	@scripts/run-tests.sh $(BUILD) $(UNIT_TESTS)

.PHONY: check-integration
check-integration: all ## Run the tests that send HTTP to the gateway, those with real agents' servers included
	@scripts/install-deps.sh test
	@scripts/run-tests.sh $(BUILD) tests/integration

.PHONY: real-servers
real-servers: all ## Run the tests with LiteLLM's proxy; its installation takes 760 MB
	@scripts/install-deps.sh servers
	@scripts/run-tests.sh $(BUILD) tests/servers

.PHONY: clients
clients: all ## Cut the connections of SSE clients in Go, Java and Rust; needs their toolchains; ROUNDS=20, SEED=1
	@scripts/install-deps.sh test
	@scripts/build-clients.sh
	@ROUNDS=$(if $(findstring command,$(origin ROUNDS)),$(ROUNDS)) $(if $(SEED),SEED=$(SEED)) scripts/run-tests.sh $(BUILD) tests/clients

.PHONY: check-browser
check-browser: all ## Run the tests in a real Chromium
	@scripts/install-deps.sh test
	@scripts/run-tests.sh $(BUILD) tests/browser

.PHONY: model
model: ## Check the models of the run swap with spin; LONG=1 checks larger models for minutes
	@scripts/install-deps.sh test
	@scripts/check-model.sh $(if $(LONG),long)

.PHONY: asan
asan: ## Run every test with the address and undefined-behaviour sanitizers
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=address,undefined SLUICE_TEST_SLOW=5 check-everything

.PHONY: tsan
tsan: ## Run the broadcaster's and the integration tests with the thread sanitizer
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory BUILD=build-tsan SANITIZE=thread SLUICE_TEST_SLOW=8 check-threads

.PHONY: scarcity
scarcity: ## Let some allocations and descriptors fail; LONG=1 lets each one fail and takes minutes
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=address,undefined SLUICE_TEST_SLOW=2 \
		$(if $(LONG),SCARCE_LONG=1 SUITE_TIMEOUT_S=3600) check-scarcity

.PHONY: check-scarcity
check-scarcity: $(BUILD)/scarcity/sluice
	@scripts/run-tests.sh $(BUILD)/scarcity tests/scarcity

# How long each target is fuzzed.
SECONDS = 60
.PHONY: fuzz
fuzz: ## Fuzz each parser for SECONDS=60 with libFuzzer; FUZZ=sse_parser fuzzes one parser only
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory BUILD=build-fuzz CC=clang SANITIZE=address,undefined \
		CFLAGS='-g -O1 -fsanitize=fuzzer-no-link' fuzzers
	@scripts/run-fuzz.sh build-fuzz $(SECONDS) $(FUZZ)

# SEED repeats what an earlier run printed; SIDE is requests, answers or both.
SEED =
SIDE = both
.PHONY: fuzz-gateway
fuzz-gateway: ## Fuzz the gateway for SECONDS=60 by requests and for SECONDS=60 by upstream answers; SEED=, SIDE=requests|answers
	@scripts/install-deps.sh test
	@$(MAKE) --no-print-directory BUILD=build-asan SANITIZE=address,undefined SLUICE_TEST_SLOW=5 run-fuzz-gateway

.PHONY: run-fuzz-gateway
run-fuzz-gateway: $(BUILD)/sluice
	@SLUICE_BIN=$(CURDIR)/$(BUILD)/sluice PATH="$(CURDIR)/build-node/bin:$$PATH" \
		node tests/fuzz-gateway/main.mjs $(SIDE) $(SECONDS) $(SEED)

.PHONY: fuzzers
fuzzers: $(FUZZERS)

.PHONY: coverage
coverage: ## Show the lines and branches that the unit and integration tests run, and write build-coverage/report/
	@scripts/install-deps.sh test
	@scripts/install-deps.sh lint
	@$(MAKE) --no-print-directory BUILD=build-coverage CFLAGS='-g -O0 --coverage' LDFLAGS=--coverage \
		SLUICE_TEST_SLOW=3 check-coverage

.PHONY: check-coverage
check-coverage: all unit-tests
	@find $(BUILD) -name '*.gcda' -delete
	@scripts/run-tests.sh $(BUILD) $(UNIT_TESTS) tests/integration
	@mkdir -p $(BUILD)/report
	@gcovr --print-summary --object-directory $(BUILD) $(foreach room,$(ROOMS),--filter '$(room)/') \
		--html-details $(BUILD)/report/index.html $(BUILD)

.PHONY: valgrind
valgrind: ## Run the unit tests under valgrind's memcheck, and those with threads under helgrind; SHORT=1 runs each test once
	@scripts/install-deps.sh test
	@scripts/install-deps.sh lint
	@$(MAKE) --no-print-directory BUILD=build-valgrind CPPFLAGS=-DSLUICE_HELGRIND CFLAGS='-g -O1' check-valgrind

.PHONY: check-valgrind
check-valgrind: unit-tests $(BUILD)/planted
	@scripts/check-valgrind.sh $(BUILD)/planted $(filter-out $(NOT_FOR_VALGRIND) $(if $(SHORT),$(THREADED_TESTS)),$(UNIT_TESTS)) \
		-- $(filter-out $(NOT_FOR_VALGRIND),$(THREADED_TESTS))

$(BUILD)/planted: $(call OBJECTS,tests/support/planted.c) $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

.PHONY: check-everything
check-everything: all unit-tests
	@scripts/run-tests.sh $(BUILD) $(UNIT_TESTS) tests/integration tests/browser

.PHONY: check-threads
check-threads: all $(THREADED_TESTS)
	@scripts/run-tests.sh $(BUILD) $(THREADED_TESTS) tests/integration

# Nothing may run beside a measurement.
.PHONY: faults
faults: all $(BUILD)/crowd ## Break upstreams and clients in every way and check that nothing leaks; LONG=1 runs more cases for minutes
	@scripts/install-deps.sh test
	@FAULTS_LONG=$(LONG) TEST_CONCURRENCY=1 scripts/run-tests.sh $(BUILD) tests/faults

$(BUILD)/crowd: $(call OBJECTS,tests/support/crowd.c)
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^

# The seconds are given on the command line only: without them each variant runs once.
.PHONY: storm
storm: all ## Send random requests, faults and ends and judge each run; SECONDS=600, SEED=1, VARIANT=chain, BUILD=, SANITIZE=
	@scripts/install-deps.sh test
	@SLUICE_BIN=$(abspath $(BUILD))/sluice SEED=$(SEED) VARIANT=$(VARIANT) node tests/storm/main.mjs $(if $(findstring command,$(origin SECONDS)),$(SECONDS))

# A long soak draws the plot that is in the documentation.
MINUTES = 10
.PHONY: soak
soak: all ## Load the gateway for MINUTES=10 and check memory, descriptors and latency; 5 minutes or more draw docs/measurements/soak.svg
	@SLUICE_BIN=$(BUILD)/sluice node tests/soak/soak.mjs $(MINUTES) \
		$$(awk 'BEGIN { print ($(MINUTES) >= 5) ? "docs/measurements/soak.svg" : "$(BUILD)/soak.svg" }')

# ---- benchmarks -----------------------------------------------------------------------------------

# One program a file, but for those that several of them share.
BENCH_SHARED := $(addprefix tests/bench/,bench.c bench_net.c delivery.c event_feed.c)
BENCH_TOOLS := $(patsubst %.c,$(BUILD)/%,$(filter-out $(BENCH_SHARED) tests/bench/perf_%,$(BENCH_SOURCES)))

.PHONY: bench-tools
bench-tools: $(BENCH_TOOLS)

$(BUILD)/libbench.a: $(call OBJECTS,$(BENCH_SHARED))
	@rm -f $@
	@echo '  archive  $@'
	$(Q)$(AR) qcs $@ $^

$(BENCH_TOOLS): %: %.o $(BUILD)/libbench.a $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

# Nothing may run beside a measurement.
ROUNDS = 5
.PHONY: bench
bench: ## Compare the gateway with other gateways and write docs/measurements/benchmarks.md; PART=fanout|relay|runs, ROUNDS=5, QUICK=1
	@scripts/install-deps.sh bench
	@$(MAKE) --no-print-directory run-bench

.PHONY: run-bench
run-bench: all bench-tools $(BUILD)/crowd
	@BUILD=$(BUILD) ROUNDS=$(ROUNDS) QUICK=$(QUICK) PATH="$(CURDIR)/build-node/bin:$$PATH" node tests/bench/bench.mjs $(PART)

# ---- instructions ---------------------------------------------------------------------------------

PERF_PROGRAMS := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/bench/perf_*.c))

$(PERF_PROGRAMS): %: %.o $(BUILD)/libsluice.a
	@echo '  link     $@'
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

.PHONY: perf-check
perf-check: ## Fail if an event, a run or the parser takes over 5 % more instructions; RAISE=1 keeps the new counts
	@scripts/install-deps.sh lint
	@$(MAKE) --no-print-directory check-perf

.PHONY: check-perf
check-perf: $(PERF_PROGRAMS)
	@scripts/check-perf.sh $(if $(RAISE),--raise) $(BUILD)/perf $(PERF_PROGRAMS)

# ---- the source tree ------------------------------------------------------------------------------

.PHONY: lint
lint: ## Fail if a static analyzer reports something: cppcheck, gcc, clang-tidy, scan-build
	@scripts/install-deps.sh lint
	@scripts/lint.sh

.PHONY: hardening
hardening: $(BUILD)/sluice ## Fail if the program lacks PIE, full RELRO, fortification or stack protection
	@scripts/check-hardening.sh $(BUILD)/sluice

.PHONY: format
format: ## Format the sources
	clang-format -i $(FORMATTED)

.PHONY: format-check
format-check: ## Fail if a source is not formatted
	@clang-format --dry-run -Werror $(FORMATTED)

.PHONY: house
house: ## Print figures of the sources: files, functions, names, and the files that run for an event and for a swap
	@scripts/install-deps.sh lint
	@$(MAKE) --no-print-directory $(BUILD)/tests/bench/perf_relay $(BUILD)/tests/bench/swap_once
	@scripts/measure-house.py $(BUILD)

.PHONY: laws
laws: layers ## Fail if a source or a document breaks a rule: layers, locks, names of functions, names of files
	@scripts/check-house.py --self-test
	@scripts/check-house.py

.PHONY: layers
layers: ## Fail if an include breaks the order of the rooms
	@scripts/check-layers.sh --self-test
	@scripts/check-layers.sh

.PHONY: docs
docs: $(BUILD)/sluice ## Write docs/configuration.md and the example configuration from the table of settings
	$(BUILD)/sluice --print-config-docs > docs/configuration.md
	$(BUILD)/sluice --print-config-example > scripts/sluice.example.yaml

.PHONY: docs-check
docs-check: $(BUILD)/sluice ## Fail if a page differs from the program: settings, man page, docs/api.md, assertions, links
	@scripts/check-docs.sh $(BUILD)/sluice
	@scripts/check-asserts.sh --self-test
	@scripts/check-asserts.sh
	@scripts/check-pages.py --self-test
	@scripts/check-pages.py

# ---- the rest -------------------------------------------------------------------------------------

.PHONY: install
install: $(BUILD)/sluice ## Install the program, its man page, an example configuration, alert rules and a dashboard below DESTDIR and PREFIX
	install -D -m 755 $(BUILD)/sluice $(DESTDIR)$(PREFIX)/bin/sluice
	install -D -m 644 scripts/sluice.1 $(DESTDIR)$(PREFIX)/share/man/man1/sluice.1
	install -D -m 644 scripts/sluice.example.yaml $(DESTDIR)$(PREFIX)/share/doc/sluice/sluice.example.yaml
	install -D -m 644 scripts/prometheus/alerts.yml $(DESTDIR)$(PREFIX)/share/doc/sluice/prometheus/alerts.yml
	install -D -m 644 scripts/grafana/sluice.json $(DESTDIR)$(PREFIX)/share/doc/sluice/grafana/sluice.json
	@mkdir -p $(DESTDIR)$(PREFIX)/lib/systemd/system
	sed 's|@PREFIX@|$(PREFIX)|' scripts/sluice.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/sluice.service

.PHONY: clean
clean: ## Remove the built files
	rm -rf $(BUILD) build-asan build-tsan build-fuzz build-coverage build-valgrind

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.* ## \(.*\)/\1\t\2/p' Makefile | expand -t 20
