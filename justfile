# The commands that people repeat. `just` lists them; CONTRIBUTING.md explains them.

set positional-arguments

_list:
    @just --list --unsorted

# A shop with sample drops and simulated shoppers
demo *args:
    cargo run --release -- demo "$@"

# The server
serve *args:
    cargo run --release -- serve "$@"

# Format, then lint every crate with its tests
check:
    cargo fmt --all
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Every test, or those whose path contains one of the names: just test oversell expiry
test *names:
    cargo test --workspace --locked -- "$@"

# Everything that must hold before a change lands
ci:
    .ci/run

# Holdfast and its rivals in one run, for a few minutes
bench *args:
    cargo run --release -p bench -- --quick "$@"

# Verify the log of the data directory, or of DATABASE_URL
verify *args:
    cargo run --release -- audit verify "$@"

# Licences, banned crates and sources (cargo install cargo-deny --locked)
deny:
    cargo deny check bans licenses sources

# The documentation as a site in target/book (cargo install mdbook --locked)
book *args:
    mdbook build "$@"
