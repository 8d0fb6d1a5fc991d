//! Options that people know from Docker, BuildKit, Podman or kaniko and that are not ours → what to do instead.

/// The option, and a sentence that goes on after its name.
const FOREIGN: &[(&str, &str)] = &[
    ("--add-host", "is not supported: steps have a fixed /etc/hosts; use an address, or the network's own names"),
    ("--allow", "of Docker is not needed: nothing is entitled to more than the spec says"),
    ("--attest", "is not supported: no attestations are written; leave it out"),
    ("--builder", "is not needed: there is no daemon and no builder; leave it out"),
    ("--cache", "of kaniko is not needed: the store is always used; leave it out"),
    ("--cache-repo", "is `--cache-from REPOSITORY --cache-to REPOSITORY` here"),
    ("--call", "is not supported: for checks, use `lapstrake check`; for targets and arguments, `lapstrake plan`"),
    ("--cgroup-parent", "is not supported: limit the builder itself; leave it out"),
    ("--check", "is a command of its own: `lapstrake check`"),
    ("--cleanup", "is not needed: nothing is left outside the store; leave it out"),
    ("--compress", "is not needed: there is no daemon to send the context to; leave it out"),
    ("--cpu-period", "is not supported: limit the builder itself; leave it out"),
    ("--cpu-quota", "is not supported: limit the builder itself; leave it out"),
    ("--cpu-shares", "is not supported: limit the builder itself; leave it out"),
    ("--cpuset-cpus", "is not supported: limit the builder itself; leave it out"),
    ("--cpuset-mems", "is not supported: limit the builder itself; leave it out"),
    ("--destination", "is `--tag REF --push` here"),
    ("--digest-file", "is `--metadata-file FILE` here, which has the digests of all that was built as JSON"),
    ("--disable-content-trust", "is not needed: whatever is pulled is verified by its digest; leave it out"),
    ("--dockerfile", "is `--file FILE` here"),
    ("--force-rm", "is not needed: there are no containers to remove; leave it out"),
    ("--format", "is a key of the image: write `format = \"docker\"` or `\"oci\"` in a lapstrake.toml"),
    ("--insecure", "is a setting of the machine: write `[registries.\"HOST\"]` with `plain_http = true` in config.toml"),
    ("--layers", "is not needed: each step is cached and has a layer of its own; leave it out"),
    ("--memory-swap", "is not supported: limit the builder itself; leave it out"),
    ("--no-push", "is not needed: nothing is pushed without `--push`; leave it out"),
    ("--oci-layout-path", "is `-o oci:DIR` here"),
    ("--password", "would be seen by every process of this machine: give it on standard input, with `--password-stdin`"),
    ("--policy", "is not supported"),
    ("--provenance", "is not supported but for `--provenance=false`: no attestations are written"),
    ("--reproducible", "is not needed: images always are; leave it out"),
    ("--rm", "is not needed: there are no containers to remove; leave it out"),
    ("--sbom", "is not supported but for `--sbom=false`: no attestations are written"),
    ("--security-opt", "is not supported: see `lapstrake doctor` for how steps are kept apart, and `--isolation`"),
    ("--shm-size", "is not supported: mount a `tmpfs` on /dev/shm in the step that needs it"),
    ("--skip-tls-verify", "is not supported: name the certificate's authority by `ca` in config.toml"),
    ("--snapshot-mode", "is not needed: changes are found by contents; leave it out"),
    ("--squash", "is not supported: write what belongs together as one step, or copy the result from a stage"),
    ("--tar-path", "is `-o docker-archive:FILE` here"),
    ("--tls-verify", "is not supported: name the certificate's authority by `ca` in config.toml"),
    ("--ulimit", "is not supported: steps have the limits of the builder; leave it out"),
    ("--userns", "is chosen by `--isolation` here"),
    ("--volume", "is not supported: what a step reads is an input; use a mount in the spec, and `--build-context NAME=DIR` for its files"),
];

/// What is to be said of an option that we do not have but others do.
pub(crate) fn instead_of(option: &str) -> Option<String> {
    let name = option.split(['=', ' ']).next().unwrap_or(option);
    let place = FOREIGN.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    FOREIGN.get(place).map(|(name, sentence)| format!("`{name}` {sentence}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn foreign_options_are_sorted_and_not_our_own() {
        assert!(FOREIGN.is_sorted_by(|(a, _), (b, _)| a < b));
        let command = crate::args::Arguments::command();
        let build = command.find_subcommand("build").unwrap();
        // Shown for values of these that we refuse, or for Docker's meaning of the word.
        let shared = ["--provenance", "--sbom", "--allow"];
        for (name, _) in FOREIGN.iter().filter(|(name, _)| !shared.contains(name)) {
            assert!(build.get_arguments().all(|argument| argument.get_long() != name.strip_prefix("--")), "{name}");
        }
    }

    #[test]
    fn an_option_is_found_with_and_without_its_value() {
        assert!(instead_of("--destination").is_some_and(|text| text.contains("--push")));
        assert!(instead_of("--shm-size=1g").is_some() && instead_of("--provenance <false>").is_some());
        assert_eq!(instead_of("--loda"), None);
    }
}
