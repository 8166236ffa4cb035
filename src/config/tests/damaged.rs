//! Whatever stands in the file: it is read, or refused at a place in it.

use proptest::prelude::*;

use super::*;

fn in_file(text: &[u8], problem: &Problem) -> bool {
    let text = String::from_utf8_lossy(text);
    // YAML 1.2 section 5.4: a CR alone breaks a line too.
    let lines = text.replace("\r\n", "\n").split(['\n', '\r']).count();
    (1..=lines).contains(&problem.line) && problem.column >= 1 && problem.column <= text.chars().count() + 1
}

proptest! {
    #[test]
    fn bytes_are_read_or_refused_at_a_place_in_the_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for problem in read(Path::new("x"), &bytes, &lookup, &mut BTreeSet::new()).err().unwrap_or_default() {
            prop_assert!(in_file(&bytes, &problem), "{problem}");
        }
    }

    #[test]
    fn a_damaged_file_is_read_or_refused_at_a_place_in_it(
        at in 0..GOOD.len(),
        length in 0usize..40,
        put in "[ \\-:{}\\[\\]&*!|>'\"%@`#,?\na-z\t0-9.$~/]{0,12}",
    ) {
        let mut text = GOOD.to_owned();
        let end = (at + length).min(text.len());
        text.replace_range(at..end, &put);
        match load_text(&text) {
            // Whatever was damaged: nothing starts without a listener and a route.
            Ok(config) => prop_assert!(!config.listeners.is_empty() && !config.routes.is_empty()),
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(in_file(text.as_bytes(), &problem), "{problem}");
                    prop_assert!(!problem.key.starts_with("the file: does not fit"), "{problem}");
                    prop_assert!(!problem.to_string().contains('\n'));
                }
            }
        }
    }
}

/// A key that is written already was not forgotten: what is wrong with it is told beside the misspelt one.
#[test]
fn a_misspelt_key_beside_the_right_one_hides_no_mistake() {
    let text = GOOD.replacen("routes:", "rotues: 1\nroutes:", 1).replacen("path: /orders/", "path: orders", 1);
    let lines = lines(&text);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].contains("rotues: unknown key `rotues`; did you mean `routes`?"), "{lines:#?}");
    assert!(lines[1].contains("routes[0].match.path"), "{lines:#?}");
}
