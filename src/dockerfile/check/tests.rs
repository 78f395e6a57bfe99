//! Each rule's page in docs/checks shows what it finds and what it does not; here the pages are taken at their word.

use super::*;
use crate::base::Digest;
use crate::diag::Source;
use crate::dockerfile::lower::{BaseImage, NotFound};
use crate::dockerfile::parse;
use crate::image::Platform;
use crate::image::config::ImageConfig;
use std::path::Path;

struct Fake;

impl Images for Fake {
    fn find(&self, reference: &str, _platform: &Platform) -> Result<BaseImage, NotFound> {
        let architecture = match reference {
            "example/arm64-only" => "arm64",
            "example/amd64" => "amd64",
            _ => return Err(NotFound { reason: "not in the store".into(), ..NotFound::default() }),
        };
        let config = ImageConfig { architecture: architecture.into(), os: "linux".into(), ..ImageConfig::default() };
        Ok(BaseImage { reference: reference.into(), manifest: Digest::of(b""), config })
    }
}

fn findings(text: &str) -> Vec<Diagnostic> {
    findings_with(text, &[])
}

fn findings_with(text: &str, build_args: &[(&str, &str)]) -> Vec<Diagnostic> {
    let source = Source::new("Dockerfile", text);
    let (file, _) = parse(&source).unwrap_or_else(|list| panic!("{text}\n{list:#?}"));
    let platform = Platform { os: "linux".into(), arch: "amd64".into(), variant: String::new() };
    let build_args = build_args.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let options = Options { platform, build_args, ..Options::default() };
    let ignore = Ignore::parse("secret\n*.log\n").expect("patterns");
    check(&file, &options, &Fake, Some(&ignore), Depth::Check)
}

/// `CODE: text of the primary span`.
fn told(text: &str) -> Vec<String> {
    let spell = |d: &Diagnostic| format!("{}: {}", d.code, &text[d.labels[0].span.range()]);
    findings(text).iter().map(spell).collect()
}

/// The Dockerfiles below a heading of a page.
fn examples<'p>(page: &'p str, heading: &str) -> Vec<&'p str> {
    let section = page.split("\n## ").find_map(|part| part.strip_prefix(heading)?.strip_prefix('\n')).unwrap_or("");
    section.split("```dockerfile\n").skip(1).filter_map(|block| block.split("```").next()).collect()
}

#[test]
fn every_page_shows_what_its_rule_finds() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    for rule in &RULES {
        let page = std::fs::read_to_string(root.join(rule.page())).unwrap_or_else(|e| panic!("{}: {e}", rule.page()));
        let (bad, good) = (examples(&page, "Found"), examples(&page, "Not found"));
        assert!(!bad.is_empty() && !good.is_empty(), "{} has no examples", rule.page());
        let finds = |text: &&str| findings(text).iter().any(|finding| finding.code == rule.name);
        wrong.extend(bad.iter().filter(|text| !finds(text)).map(|text| format!("{} misses\n{text}", rule.name)));
        wrong.extend(good.iter().filter(|text| finds(text)).map(|text| format!("{} dislikes\n{text}", rule.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_fix_leaves_nothing_for_its_rule_to_find() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut fixed = 0;
    for rule in &RULES {
        let page = std::fs::read_to_string(root.join(rule.page())).unwrap_or_else(|e| panic!("{}: {e}", rule.page()));
        for text in examples(&page, "Found") {
            let mut found = findings(text);
            found.retain(|finding| finding.code == rule.name && !finding.fixes.is_empty());
            let Some((mended, _)) = crate::diag::fix::apply(text, &found) else { continue };
            let left = findings(&mended).into_iter().filter(|f| f.code == rule.name && !f.fixes.is_empty()).count();
            assert!(left < found.len(), "{}\n{text}\n{mended}", rule.name);
            fixed += 1;
        }
    }
    assert!(fixed >= 10, "only {fixed} examples have a fix");
}

#[test]
fn every_page_belongs_to_a_rule() {
    let pages = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checks")).expect("pages");
    for page in pages {
        let name = page.expect("an entry").file_name().into_string().expect("a name");
        assert!(RULES.iter().any(|rule| rule.page().ends_with(&format!("/{name}"))), "{name}");
    }
}

#[test]
fn findings_mark_the_word_that_is_meant() {
    let cases: [(&str, &[&str]); 6] = [
        ("FROM scratch AS Up\n", &["StageNameCasing: Up"]),
        ("FROM scratch\nLABEL a=x$VERSION.1\n", &["UndefinedVar: $VERSION"]),
        ("FROM scratch\nLABEL a=\"${A}${AB}\"\n", &["UndefinedVar: ${A", "UndefinedVar: ${AB"]),
        ("FROM scratch\nENV A_KEY=1 B=2\n", &["SecretsUsedInArgOrEnv: A_KEY"]),
        ("FROM scratch\nCMD [\"a\"]\nCMD [\"b\"]\n", &["MultipleInstructionsDisallowed: CMD"]),
        ("FROM scratch\nCOPY <<E /x\na $VAR\nE\n", &["UndefinedVar: $VAR"]),
    ];
    for (text, want) in cases {
        assert_eq!(told(text), want, "{text}");
    }
}

#[test]
fn directives_choose_what_is_told() {
    let two = "FROM scratch AS Up\nENV A 1\n";
    let with = |line: &str| told(&format!("{line}\n{two}"));
    assert_eq!(with("# nothing"), ["StageNameCasing: Up", "LegacyKeyValueFormat: A 1"]);
    assert_eq!(with("# check=skip=StageNameCasing"), ["LegacyKeyValueFormat: A 1"]);
    assert_eq!(with("# check=skip=all"), Vec::<String>::new());
    assert_eq!(with("# check=skip=stagenamecasing,LegacyKeyValueFormat"), Vec::<String>::new());
    let errors = findings(&format!("# check=error=true\n{two}"));
    assert!(errors.iter().all(Diagnostic::is_error) && errors.len() == 2, "{errors:?}");

    let local = "FROM scratch\n# check=skip=LegacyKeyValueFormat\nENV A 1\nENV B 2\n";
    assert_eq!(told(local), ["LegacyKeyValueFormat: B 2"]);

    let misspelt = findings(&format!("# check=skip=StageNameCasting\n{two}"));
    assert_eq!(misspelt[0].code, "invalid-check");
    assert!(!misspelt[0].is_error() && misspelt[0].help == ["did you mean StageNameCasing?"], "{misspelt:?}");

    let given = |value| findings_with(two, &[("BUILDKIT_DOCKERFILE_CHECK", value)]);
    assert!(given("skip=all").is_empty());
    assert!(given("skp=all")[0].is_error());
}
