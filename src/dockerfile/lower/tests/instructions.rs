//! What each instruction becomes.

use super::*;

#[test]
fn run_sees_env_then_args_and_unkeyed_proxies() {
    let text = "FROM base\nARG A=1\nARG BARE\nENV E=2\nARG FROM_BASE=hidden\nARG NO_PROXY\nRUN x\n";
    let all = lowered_with(text, &with_args(&[("https_proxy", "p"), ("NO_PROXY", "n")]));
    let [run] = runs(&all)[..] else { panic!("{all:?}") };
    assert_eq!(run.env, ["PATH=/base/bin", "FROM_BASE=yes", "E=2", "A=1", "NO_PROXY=n"]);
    assert_eq!(run.env_unkeyed, ["no_proxy=n", "HTTPS_PROXY=p", "https_proxy=p"]);
    assert_eq!((run.user.as_str(), run.workdir.as_str()), ("app", "/srv"));
    assert_eq!(history(&all).last(), Some(&"RUN |4 A=1 BARE= FROM_BASE=yes NO_PROXY=n /bin/bash -c x # buildkit"));
}

#[test]
fn run_takes_its_words_from_shell_and_text() {
    let cases: [(&str, &[&str]); 7] = [
        ("RUN make  $X \\\n  all", &["/bin/sh", "-c", "make  $X   all"]),
        ("RUN [\"make\", \"$X\"]", &["make", "$X"]),
        ("SHELL [\"/bin/bash\", \"-eo\", \"pipefail\", \"-c\"]\nRUN a", &["/bin/bash", "-eo", "pipefail", "-c", "a"]),
        ("RUN <<EOF\na $X\nb\nEOF", &["/bin/sh", "-c", "a $X\nb\n"]),
        ("RUN <<-EOF\n\ta\n\tEOF", &["/bin/sh", "-c", "a\n"]),
        ("RUN cat <<A >x && cat <<'B' >y\n1\nA\n2\nB", &["/bin/sh", "-c", "cat <<A >x && cat <<'B' >y\n1\nA\n2\nB"]),
        ("RUN <<EOF\n#!/usr/bin/env python3\nprint()\nEOF", &["/dev/pipes/EOF"]),
    ];
    for (body, want) in cases {
        let all = lowered(&format!("FROM scratch\n{body}\n"));
        assert_eq!(runs(&all)[0].argv, want, "{body}");
    }
    let script = lowered("FROM scratch\nRUN <<EOF\n#!/bin/x\ny\nEOF\n");
    let script = runs(&script)[0].script.as_ref().expect("a script");
    assert_eq!((script.name.as_str(), script.data.as_str()), ("EOF", "#!/bin/x\ny\n"));
}

#[test]
fn the_network_of_a_run_is_the_builds_or_less() {
    let of = |flag: &str, network| {
        let options = Options { network, ..options() };
        try_lower(&format!("FROM scratch\nRUN {flag} x\n"), &options).map(|all| runs(&all)[0].network)
    };
    assert_eq!(of("", Network::None).ok(), Some(Network::None));
    assert_eq!(of("--network=default", Network::None).ok(), Some(Network::None));
    assert_eq!(of("--network=none", Network::Host).ok(), Some(Network::None));
    assert_eq!(of("--network=host", Network::Host).ok(), Some(Network::Host));
    assert_eq!(
        of("--network=host", Network::None).map_err(|list| fault(&list[0])),
        Err("network-refused: host".into())
    );
}

#[test]
fn a_run_says_how_often_and_how_long_and_insecure_only_where_that_is_allowed() {
    let allowed = Options { allow_insecure: true, ..options() };
    let lowered = try_lower("FROM scratch\nRUN --retry=3 --timeout=1m30s --security=insecure x\n", &allowed).unwrap();
    let run = runs(&lowered)[0];
    assert_eq!((run.retry, run.timeout), (Some(3), Some(std::time::Duration::from_secs(90))));
    assert_eq!(run.security, crate::graph::Security::Insecure);
    for (flag, want) in [("retry=101", "flag-value"), ("retry=-1", "bad-flag-value"), ("timeout=3", "bad-flag-value")] {
        let text = format!("FROM scratch\nRUN --{flag} x\n");
        let source = crate::diag::Source::new("Dockerfile", text.clone());
        let codes: Vec<String> = match crate::dockerfile::parse(&source) {
            Err(list) => list.into_iter().map(|d| d.code).collect(),
            Ok(_) => try_lower(&text, &options()).unwrap_err().into_iter().map(|d| d.code).collect(),
        };
        assert_eq!(codes, [want], "{flag}");
    }
}

#[test]
fn add_fetches_what_is_on_the_network_in_a_step_of_its_own() {
    let text = "FROM scratch
ARG V=1
ADD https://example.org/x-$V.tar git@example.org:x.git#v1:sub /x/
ADD --unpack --checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 https://example.org/x-1.tar /y
ADD --keep-git-dir --checksum=abcdef https://example.org/x.git /z
ADD https://example.org/x-1.tar /again
";
    let all = lowered(text);
    let fetched: Vec<String> = all
        .graph
        .steps
        .iter()
        .filter_map(|step| match &step.op {
            Op::Fetch(remote) => Some(format!("{remote} {}", matches!(remote, Remote::Git(git) if git.keep_git_dir))),
            _ => None,
        })
        .collect();
    let expected = [
        "https://example.org/x-1.tar false",
        "git@example.org:x.git#v1:sub false",
        "https://example.org/x-1.tar false",
        "https://example.org/x.git#abcdef true",
    ];
    assert_eq!(fetched, expected, "the last ADD uses the first's step");
    let unpacks: Vec<bool> = copies(&all).iter().map(|copy| copy.unpack_remote).collect();
    assert_eq!(unpacks, [false, true, false, false]);
    assert_eq!(all.image.history.iter().filter_map(|h| h.step).count(), 4);
}

#[test]
fn flags_for_the_network_are_for_sources_there() {
    let sum = "--checksum=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for (body, want) in [
        (format!("ADD {sum} x /x"), "flag-for-remote"),
        (format!("ADD {sum} https://h/a https://h/b /x/"), "checksum-of-many"),
        ("ADD --checksum=sha256:00 https://h/a /x".to_owned(), "invalid-checksum"),
        (format!("ADD {sum} https://h/a.git /x"), "invalid-checksum"),
        ("ADD --keep-git-dir https://h/a /x".to_owned(), "flag-for-git"),
        ("ADD https://h/a.git#../b /x".to_owned(), "invalid-remote"),
        ("ADD http:///x /x".to_owned(), "invalid-remote"),
    ] {
        let list = try_lower(&format!("FROM scratch\n{body}\n"), &options()).unwrap_err();
        assert_eq!(list[0].code, want, "{body}");
    }
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        ("RUN --security=insecure x", "security-refused"),
        ("RUN --device=vendor.com/gpu=all x", "flag-unsupported"),
        ("COPY https://example.org/x /x", "copy-remote"),
    ];
    for (body, want) in cases {
        let list = try_lower(&format!("FROM scratch\n{body}\n"), &options()).unwrap_err();
        assert_eq!(list[0].code, want, "{body}");
    }
    for fine in ["# syntax=docker/dockerfile:1\nFROM scratch", "FROM --platform=$BUILDPLATFORM scratch"] {
        lowered(fine);
    }
}

#[test]
fn copy_resolves_its_operands() {
    let text = "FROM base\nENV d=dir\nCOPY --chown=$d --chmod=u=rwX --link --exclude=$x a\\$b $d/*.c .\nCOPY x ../y\n\
                COPY [\"a b\", \"/c d/\"]\nADD --unpack=false x.tar /\n";
    let all = lowered(text);
    let [first, second, third, fourth] = copies(&all)[..] else { panic!("{all:?}") };
    let patterns = |op: &CopyOp| {
        op.sources
            .iter()
            .map(|source| match source {
                CopySource::Context { context: None, pattern } => pattern.clone(),
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!((patterns(first), first.dest.as_str()), (vec!["a$b".to_owned(), "dir/*.c".into()], "/srv/"));
    assert_eq!((first.chown.as_deref(), first.chmod.as_deref()), (Some("dir"), Some("u=rwX")));
    assert!(first.link && !first.unpack);
    assert_eq!(first.exclude, ["$x"]);
    assert_eq!((second.dest.as_str(), third.dest.as_str()), ("/y", "/c d/"));
    assert_eq!(patterns(third), ["a b"]);
    assert!(fourth.is_add && !fourth.unpack);
    assert_eq!(
        history(&all)[1..],
        [
            "COPY --chown=dir --chmod=u=rwX a$b dir/*.c . # buildkit",
            "COPY x ../y # buildkit",
            "COPY a b /c d/ # buildkit",
            "ADD x.tar / # buildkit"
        ]
    );
}

#[test]
fn heredocs_of_copy_are_files() {
    let text = "FROM scratch\nENV v=1\nCOPY <<a <<\"b\" c /d/\n\"$v\" \\$v\na\n$v\nb\n";
    let all = lowered(text);
    let sources: Vec<String> = copies(&all)[0].sources.iter().map(|source| format!("{source:?}")).collect();
    assert_eq!(
        sources,
        [
            r#"Inline { name: "a", data: "\"1\" $v\n" }"#,
            r#"Inline { name: "b", data: "$v\n" }"#,
            r#"Context { context: None, pattern: "c" }"#
        ]
    );
}

#[test]
fn workdir_is_a_step_unless_it_is_the_root() {
    let all = lowered("FROM base\nWORKDIR a\nWORKDIR ../b/./c\nWORKDIR /\nRUN x\n");
    let dirs = all.graph.steps.iter().filter_map(|step| match &step.op {
        Op::Mkdir(MkdirOp { path, user, .. }) => Some((path.as_str(), user.as_str())),
        _ => None,
    });
    assert_eq!(dirs.collect::<Vec<_>>(), [("/srv/a", "app"), ("/srv/b/c", "app")]);
    assert_eq!(history(&all)[..3], ["WORKDIR /srv/a", "WORKDIR /srv/b/c", "WORKDIR /"]);
    let layers: Vec<bool> = all.image.history.iter().map(|item| item.step.is_some()).collect();
    assert_eq!(layers, [true, true, false, true]);
    assert_eq!(runs(&all)[0].workdir, "/");
}

#[test]
fn the_config_is_the_bases_changed_by_each_instruction() {
    let text = "FROM base\nENV A=1 FROM_BASE=no\nLABEL \"a b\"=\"c d\"\nEXPOSE 80 53/udp\nVOLUME /v [x]\nUSER u:g\n\
                STOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s --retries=2 CMD true\nMAINTAINER me\nSHELL [\"/s\"]\n\
                ONBUILD RUN y\n";
    let all = lowered(text);
    let config = &all.image.config.config;
    let json = serde_json::to_value(config).expect("serialises");
    assert_eq!(
        json,
        serde_json::json!({
            "Env": ["PATH=/base/bin", "FROM_BASE=no", "A=1"],
            "Cmd": ["base-cmd"], "Entrypoint": ["base-entry"], "WorkingDir": "/srv", "User": "u:g",
            "Labels": {"a b": "c d"}, "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Volumes": {"/v": {}, "[x]": {}},
            "StopSignal": "SIGINT", "Shell": ["/s"], "OnBuild": ["RUN y"],
            "Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000u64, "Retries": 2},
        })
    );
    assert_eq!(all.image.config.author.as_deref(), Some("me"));
    assert_eq!((all.image.config.created.as_ref(), all.image.base_history.len()), (None, 1));
    assert_eq!(
        history(&all),
        [
            "ENV A=1 FROM_BASE=no",
            "LABEL a b=c d",
            "EXPOSE [53/udp 80/tcp]",
            "VOLUME [/v [x]]",
            "USER u:g",
            "STOPSIGNAL SIGINT",
            "HEALTHCHECK --interval=5s --retries=2 CMD true",
            "MAINTAINER me",
            "SHELL [/s]",
            "ONBUILD RUN y"
        ]
    );
    assert!(all.image.history.iter().all(|item| item.step.is_none()));
}

#[test]
fn the_type_of_a_mount_may_be_a_variable() {
    let with = |kind: &str| format!("FROM scratch\nARG KIND={kind}\nRUN --mount=type=$KIND,target=/t x\n");
    let lowered = lowered(&with("Tmpfs"));
    assert!(matches!(runs(&lowered)[0].mounts[..], [RunMount::Tmpfs { .. }]));
    assert_eq!(faults(&with("memory"), &options()), ["unknown-mount-type: type=$KIND,target=/t"]);
}

#[test]
fn scratch_has_a_path_and_a_workdir() {
    let config = lowered("FROM scratch\n").image.config;
    assert_eq!(config.config.env, Some(vec![format!("PATH={}", state::DEFAULT_PATH)]));
    assert_eq!((config.config.working_dir.as_deref(), config.os.as_str()), (Some("/"), "linux"));
}

#[test]
fn entrypoint_resets_an_inherited_cmd_only() {
    let words = |list: &[&str]| Some(list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
    let cases = [
        ("FROM base\nENTRYPOINT [\"e\"]", words(&["e"]), None),
        ("FROM base\nCMD [\"c\"]\nENTRYPOINT [\"e\"]", words(&["e"]), words(&["c"])),
        ("FROM base AS a\nCMD [\"c\"]\nFROM a\nENTRYPOINT e", words(&["/bin/bash", "-c", "e"]), None),
        ("FROM base\nENTRYPOINT []\nCMD []", None, None),
        ("FROM base\nCMD c", words(&["base-entry"]), words(&["/bin/bash", "-c", "c"])),
    ];
    for (text, entrypoint, cmd) in cases {
        let config = lowered(text).image.config.config;
        assert_eq!((config.entrypoint, config.cmd), (entrypoint, cmd), "{text}");
    }
    let all = lowered("FROM scratch\nCMD [\"a\", \"b c\"]\n");
    assert_eq!(history(&all), ["CMD [\"a\" \"b c\"]"]);
}

#[test]
fn mounts_are_resolved() {
    let text = "FROM scratch AS s\nFROM base\nARG id=i\n\
                RUN --mount=type=bind,target=t,source=x,rw --mount=from=s,dst=/s \\\n\
                --mount=type=cache,target=/c/,sharing=locked,mode=700,uid=1 --mount=type=tmpfs,target=/t,size=1m \\\n\
                --mount=type=secret,id=$id,required --mount=type=secret,id=a/b,env=TOKEN --mount=type=ssh x\n";
    let all = lowered(text);
    let mounts: Vec<String> = runs(&all)[0].mounts.iter().map(|mount| format!("{mount:?}")).collect();
    let want = [
        r#"Bind { target: "/srv/t", source: Context { context: None, pattern: "x" }, writable: true }"#,
        r#"Bind { target: "/s", source: Step { step: StepId(0), pattern: "/" }, writable: false }"#,
        "Cache { target: \"/c\", id: \"/c\", sharing: \"locked\", from: None, mode: Some(448), uid: Some(1), gid: None, \
         readonly: false }",
        r#"Tmpfs { target: "/t", size: Some(1048576) }"#,
        "Secret { id: \"i\", target: Some(\"/run/secrets/i\"), env: None, required: true, mode: 256, uid: 0, gid: 0 }",
        "Secret { id: \"a/b\", target: None, env: Some(\"TOKEN\"), required: false, mode: 256, uid: 0, gid: 0 }",
        "Ssh { id: \"default\", target: \"/run/buildkit/ssh_agent.0\", required: false, mode: 384, uid: 0, gid: 0 }",
    ];
    assert_eq!(mounts, want);
    assert!(matches!(runs(&all)[0].mounts[0], RunMount::Bind { .. }));
    let cases = [
        ("type=chache,target=/x", "unknown-mount-type"),
        ("target=/x,tagret=/y", "unknown-mount-option"),
        ("type=tmpfs,target=/x,source=/y", "unknown-mount-option"),
        ("type=cache", "invalid-mount"),
        ("target=/", "invalid-mount"),
        ("target=/x/..", "invalid-mount"),
        ("type=cache,target=/c,sharing=all", "invalid-mount"),
        ("type=cache,target=/c,mode=9", "invalid-mount"),
        ("target", "invalid-mount"),
        ("from=nosuch,target=/x", "image-not-found"),
    ];
    for (mount, want) in cases {
        let list = try_lower(&format!("FROM scratch\nRUN --mount={mount} x\n"), &options()).unwrap_err();
        assert_eq!(list[0].code, want, "{mount}");
    }
}
