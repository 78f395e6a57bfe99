# What one does with this repository; `just` lists it.
_default:
    @just --list

# Format, lint and run all tests
all: fmt lint test

# Format the code
fmt:
    cargo fmt

# Lint; warnings are errors
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings

# Run all tests
test *args:
    cargo test {{args}}

# Run the golden tests and overwrite what differs; look at the diff before committing it
golden *args:
    GOLDEN=overwrite cargo test --test golden {{args}}

# Build the conformance cases with BuildKit and rewrite what is recorded (see golden-tests/conformance/README.md)
conformance filter="conformance/":
    CONFORMANCE=record cargo test --test golden -- {{filter}}

# Check licences and advisories of the crates (needs cargo-deny)
deny:
    cargo deny check

# Install the binary, its manual pages and completions below a prefix
install prefix="/usr/local":
    cargo install --path . --root {{prefix}}
    {{prefix}}/bin/rbuild man --dir {{prefix}}/share/man/man1
    mkdir -p {{prefix}}/share/bash-completion/completions {{prefix}}/share/zsh/site-functions
    {{prefix}}/bin/rbuild completion bash > {{prefix}}/share/bash-completion/completions/rbuild
    {{prefix}}/bin/rbuild completion zsh > {{prefix}}/share/zsh/site-functions/_rbuild
