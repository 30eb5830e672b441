# SPDX-License-Identifier: Apache-2.0
# The goals that a person types. Components add their programs and checks to the lists used here:
#   programs        files that `make build` makes
#   checks          test programs besides the unit tests (boot tests, end-to-end scripts)
#   fuzz_targets    libFuzzer programs
#   fuzz_seeds      what they begin with and the build makes: $(BUILD)/fuzz/seeds/<name>/<file>
#   coverage_checks test programs that `make coverage` runs besides the unit tests, with what they
#                   need (coverage_needs) and the variables that tell them (coverage_env)
#   benches         goals that `make bench` runs in turn

.PHONY: build test demo bench lint fuzz coverage clean deps help check-unit test-tsan

help:
	@echo "make demo      build, pack a Python image, run its heartbeat in a microVM"
	@echo "make test      all tests; ends with 'N passed, N failed'"
	@echo "make build     the programs under $(BUILD)/"
	@echo "make check-unit  the unit tests alone;  make test-tsan  the concurrent ones under TSan"
	@echo "make bench     the figures of docs/benchmarks.md"
	@echo "make sim       the simulation with SEEDS (200) seeds; DST_SEED=n runs one"
	@echo "make lint      format, clang-tidy, cppcheck, house rules"
	@echo "make fuzz      every fuzz target for FUZZ_SECONDS (60) each"
	@echo "make coverage  lines covered by layer"
	@echo "make demo-lifecycle, test-lifecycle, test-jail, test-api, bench-lifecycle   machines in the background"
	@echo "make bench-block  a disk under this monitor and under QEMU"
	@echo "make lona, test-lona, bench-lona   the language VM"
	@echo "make clean     remove $(BUILD)/"

deps:
	@tools/deps

build: deps .WAIT_build
.PHONY: .WAIT_build
.WAIT_build: $(programs)

check-unit: $(unit_tests.asan)
	@tools/run-tests $^

test-tsan: $(unit_tests.tsan)
	@tools/run-tests $^

test: $(programs) $(unit_tests.asan) $(unit_tests.tsan) $(check_needs)
	@tools/run-tests $(unit_tests.asan) $(unit_tests.tsan) $(checks)

FUZZ_SECONDS ?= 60
fuzz: $(fuzz_targets) $(fuzz_seeds)
	@tools/run-fuzz $(FUZZ_SECONDS) $(fuzz_targets)

lint_sources = $(sort $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h'))
tidy_sources = $(sort $(filter %.c,$(all_srcs)))

lint: lint-format lint-house lint-cppcheck lint-tidy

.PHONY: lint-format lint-house lint-cppcheck lint-tidy
lint-format:
	@clang-format --dry-run -Werror $(lint_sources) && echo "  FORMAT  ok"
lint-house:
	@tools/house-rules && echo "  HOUSE   ok"
lint-cppcheck:
	@cppcheck --quiet --std=c11 --inline-suppr --error-exitcode=1 --enable=warning,portability \
	    --suppressions-list=tools/cppcheck.suppress -j $(shell nproc) $(filter %.c,$(lint_sources)) && echo "  CPPCHK  ok"
# clang-tidy is slow: each clean file leaves a stamp, so only what changed is looked at again.
lint-tidy: $(patsubst %,$(OUT)/tidy/%.ok,$(tidy_sources))
	@echo "  TIDY    ok"
# Generated headers must stand before the first file that includes them is read.
tidy_needs += $(kernel.needs)
$(OUT)/tidy/%.ok: % $(wildcard .clang-tidy */.clang-tidy) | $(tidy_needs)
	@mkdir -p $(@D)
	$(call say,TIDY)
	$(Q)clang-tidy --quiet $< -- -std=gnu17 -D_GNU_SOURCE -DTEST_BUILD=1 $(lint_flags.$<) $(addprefix -I,$(lint_sees.$<)) 2>$@.log \
	    || { cat $@.log; exit 1; }
	@touch $@

coverage: $(unit_tests.cov) $(coverage_needs)
	@$(coverage_env) tools/coverage $(OUT)/cov $(unit_tests.cov) $(coverage_checks)

# One at a time: each wants the machine for itself.
bench: build
	@set -e; for goal in $(benches); do $(MAKE) --no-print-directory $$goal; done

clean:
	@rm -rf $(BUILD)
