# llmhost. `make` alone lists what there is.
.DEFAULT_GOAL := help
.PHONY: docker qemu help setup setup-dev demo demo-down test lint unit unit-all bed molecule vm vm-images vm-nvidia test-vm test-vm-long test-cuda sizing bench bench-plan bench-first bench-storage docs build clean

SHELL := /bin/sh
BIN := .venv/bin
MODEL ?=
SCENARIO ?=
OPTIONS ?=
export PYTHON MODEL
# Progress is seen in a log as it is on a terminal.
export PYTHONUNBUFFERED := 1

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## .venv with what the playbooks need
	@tools/setup.sh run

setup-dev: ## .venv with what demo, build and tests need too
	@tools/setup.sh dev

docker:
	@tools/docker.sh

qemu:
	@tools/qemu.sh

demo: setup-dev docker ## a host in a container, a model that answers; MODEL=org/repo:QUANT takes a real one
	@$(BIN)/python -m tests.tools.demo

demo-down: ## remove the demo's container
	@python3 tests/tools/bed.py down llmhost-demo

test: lint unit bed molecule ## all tests

lint: setup-dev ## ansible-lint, yamllint, ruff, mypy, shellcheck
	@tools/lint.sh

unit: setup-dev ## unit tests, two minutes
	@$(BIN)/python -m pytest tests/unit

unit-all: ## unit tests and syntax checks on the oldest and the newest Python at hand
	@tools/unit_all.sh

bed: setup-dev docker ## single roles, and the tier put through faults, on real loop devices, half an hour
	@$(BIN)/python -m pytest tests/bed -m 'not long'

vm: setup-dev qemu ## a virtual machine with its own kernel and two NVMe drives, and a shell in it; ends with the shell
	@nice -n 5 $(BIN)/python -m tests.tools.vm_hold shell llmhost-vm --drive "models,4 GiB,Samsung SSD 980 PRO 1TB" --drive "network,4 GiB,Amazon Elastic Block Store"

vm-images: setup-dev qemu ## what virtual machines start from: an Ubuntu image and a saved state, ten minutes, once
	@nice -n 5 $(BIN)/python -m tests.tools.vm_image.states

test-vm: vm-images docker ## disks, arrays and swap on virtual machines, and the whole tier on one, with its reboot
	@nice -n 5 $(BIN)/python -m pytest tests/vm -m 'not long'
	@nice -n 5 tools/molecule.sh vm

test-vm-long: vm-images docker vm-nvidia ## lost and pulled disks, power cuts in every stage, failing and full disks, a cloud's first boot
	@nice -n 5 $(BIN)/python -m pytest tests/vm -m long

vm-nvidia: vm-images ## NVIDIA's driver on a real kernel: an image is made for a GPU that is not there
	@nice -n 5 tools/molecule.sh vm-nvidia

test-cuda: setup-dev docker ## llama.cpp compiled for a GPU by the roles, without a GPU: most of an hour on two cores, once
	@nice -n 5 $(BIN)/python -m pytest tests/bed -m long

molecule: setup-dev docker ## the whole tier in containers, minutes; SCENARIO=default runs one
	@tools/molecule.sh $(SCENARIO)

bench: demo ## wall time and tasks of a run that changes nothing
	@$(BIN)/python -m tests.bench.no_change_run

sizing: setup-dev ## plans beside 540 published measurements: what is off, and which way
	@PYTHONPATH=collections $(BIN)/python -m tests.tools.sizing_errors --summary

bench-plan: setup-dev ## how long plans take: 1,000 hosts with 50 models each
	@PYTHONPATH=collections $(BIN)/python -m tests.bench.plan_speed

bench-first: setup-dev docker ## stages and critical path of a first run
	@$(BIN)/python -m tests.bench.first_run

bench-storage: setup-dev ## how fast a model loads from a cold disk, beside the disk itself, for each way to load
	@PYTHONPATH=collections $(BIN)/python -m tests.bench.storage $(OPTIONS)

docs: setup-dev ## the variable tables of the roles' READMEs
	@$(BIN)/python -m tests.tools.role_docs

build: setup-dev ## the collection's tarball
	@$(BIN)/ansible-galaxy collection build --force

clean: ## remove what make made: containers, caches, .venv
	@tools/clean.sh
