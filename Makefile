# Short names for what CMake does. Bare `make` prints this list.
JOBS ?= $(shell nproc)
configure = mkdir -p build && cmake --preset $(1) > build/configure-$(1).log 2>&1 || { cat build/configure-$(1).log; exit 1; }
tested = ctest --test-dir $(1) --output-on-failure --no-tests=error

.PHONY: help deps build quickstart test test-long asan ubsan tsan fuzz debug check bench install uninstall clean info
help:              ## this list
	@awk -F ':.*## ' '/^[a-z -]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

deps:              ## install the Debian packages that are missing (asks for root only then)
	@sh cmake/deps.sh build

build: deps        ## build the program: build/loam
	@$(call configure,release)
	@cmake --build build -j $(JOBS)

quickstart: build  ## from a text file to an assistant: the main job on built-in material
	@build/loam quickstart

test:              ## build and run every test, the sanitizers and the fuzz targets (short)
	@bash tests/run.sh

test-long:         ## the heavy sweeps, and ten minutes for each fuzz target
	@LOAM_LONG=1 bash tests/run.sh

check: build       ## the tests of the release build only
	@$(call tested,build)

debug asan ubsan tsan:  ## build with debugging, or build and test under one sanitizer
	@$(call configure,$@)
	@cmake --build build/$@ -j $(JOBS)
	@test $@ = debug || $(call tested,build/$@)

fuzz:              ## build the fuzz targets under address and undefined sanitizers and run each for 10 s
	@bash tests/fuzz.sh

bench: build       ## this machine's limits and how near each operation comes
	@build/loam bench

install: build     ## install program, library, header, manual and completion (PREFIX=/usr/local)
	@cmake --install build --prefix $(or $(PREFIX),/usr/local)

uninstall:         ## remove what install wrote
	@test -f build/install_manifest.txt && xargs rm -fv < build/install_manifest.txt

info: build        ## what was detected
	@build/loam --version && build/loam bench --limits

clean:             ## remove everything built
	@rm -rf build
