//! Names and version wishes of each ecosystem.

use domain::request::{Ecosystem, PackageAsk};
use image::spec;

fn line(ecosystem: Ecosystem, name: &str, version: Option<&str>) -> Result<String, String> {
    let ask = PackageAsk { ecosystem, name: name.into(), version: version.map(str::to_owned) };
    spec::parse(&ask).map(|s| s.line()).map_err(|e| e.to_string())
}

#[test]
fn good_wishes_become_the_words_of_their_tool() {
    let good = [
        (Ecosystem::Pip, "matplotlib", None, "matplotlib"),
        (Ecosystem::Pip, "Foo__Bar.baz", Some("1.2"), "foo-bar-baz==1.2"),
        (Ecosystem::Pip, "pandas>=2,<3", None, "pandas>=2,<3"),
        (Ecosystem::Pip, "httpx[http2,Brotli]", Some("~=0.27"), "httpx[brotli,http2]~=0.27"),
        (Ecosystem::Pip, "numpy == 2.*", None, "numpy==2.*"),
        (Ecosystem::Npm, "left-pad", None, "left-pad@latest"),
        (Ecosystem::Npm, "@scope/pkg@^1.2.3", None, "@scope/pkg@^1.2.3"),
        (Ecosystem::Npm, "lodash", Some(">=4 <5 || 3.x"), "lodash@>=4 <5 || 3.x"),
        (Ecosystem::Apt, "jq", None, "jq"),
        (Ecosystem::Apt, "g++", Some("4:12.2.0-3"), "g++=4:12.2.0-3"),
    ];
    for (ecosystem, name, version, expect) in good {
        assert_eq!(line(ecosystem, name, version).as_deref(), Ok(expect), "{name} {version:?}");
    }
}

#[test]
fn everything_else_is_refused() {
    let bad = [
        (Ecosystem::Pip, "requests @ https://example.org/x.whl", None),
        (Ecosystem::Pip, "git+https://example.org/x", None),
        (Ecosystem::Pip, "./local", None),
        (Ecosystem::Pip, "--index-url=http://x", None),
        (Ecosystem::Pip, "-r", None),
        (Ecosystem::Pip, "a; python_version<'3'", None),
        (Ecosystem::Pip, "x\nRUN id", None),
        (Ecosystem::Pip, "x", Some("1.0; rm -rf /")),
        (Ecosystem::Pip, "x", Some("==")),
        (Ecosystem::Pip, "", None),
        (Ecosystem::Pip, "zürich", None),
        (Ecosystem::Npm, "user/repo", None),
        (Ecosystem::Npm, "github:user/repo", None),
        (Ecosystem::Npm, "x", Some("npm:other@1")),
        (Ecosystem::Npm, "x", Some("file:../y")),
        (Ecosystem::Npm, "x", Some("https://example.org/x.tgz")),
        (Ecosystem::Npm, "x", Some("$(id)")),
        (Ecosystem::Npm, "../x", None),
        (Ecosystem::Npm, "--prefix", None),
        (Ecosystem::Npm, "@scope", None),
        (Ecosystem::Apt, "jq-", None),
        (Ecosystem::Apt, "./x.deb", None),
        (Ecosystem::Apt, "jq/stable", None),
        (Ecosystem::Apt, "jq", Some(">=1")),
        (Ecosystem::Apt, "-o", None),
        (Ecosystem::Apt, "jq*", None),
    ];
    for (ecosystem, name, version) in bad {
        let result = line(ecosystem, name, version);
        assert!(result.is_err(), "{name:?} {version:?} became {result:?}");
    }
}

#[test]
fn no_accepted_wish_holds_what_a_shell_or_a_file_could_misread() {
    // Every string of up to three characters from an alphabet of trouble, at three positions of a good name.
    let alphabet =
        ['a', '1', ' ', '-', '.', '/', '\\', '$', '`', '"', '\'', ';', '\n', '@', '=', '<', '|', '&', '(', '#'];
    let mut tried = 0;
    for a in alphabet {
        for b in alphabet {
            for c in alphabet {
                let piece: String = [a, b, c].iter().collect();
                for name in [piece.clone(), format!("ab{piece}"), format!("ab{piece}cd")] {
                    for ecosystem in [Ecosystem::Pip, Ecosystem::Npm, Ecosystem::Apt] {
                        tried += 1;
                        let Ok(line) = line(ecosystem, &name, None) else { continue };
                        assert!(
                            !line.contains(['$', '`', '"', '\'', ';', '\n', '\\', '&', '(', '#']),
                            "{name:?}: {line:?}"
                        );
                        assert!(!line.starts_with(['-', '.', '/']), "{name:?}: {line:?}");
                    }
                }
            }
        }
    }
    assert_eq!(tried, 8000 * 9);
}

#[test]
fn a_request_has_a_bounded_number_of_names() {
    let ask = |n: usize| PackageAsk { ecosystem: Ecosystem::Pip, name: format!("p{n}"), version: None };
    assert!(spec::parse_all(&(0..20).map(ask).collect::<Vec<_>>()).is_ok());
    let error = spec::parse_all(&(0..21).map(ask).collect::<Vec<_>>()).unwrap_err();
    assert_eq!(error.code(), "request_too_large");
    assert_eq!(spec::parse_all(&[]).unwrap_err().code(), "package_rejected");
}
