use std::collections::HashSet;

use wire::Malformed;

#[test]
fn every_reason_has_its_index_and_a_name_of_its_own() {
    assert_eq!(Malformed::COUNT, 21);
    for (index, reason) in Malformed::ALL.into_iter().enumerate() {
        assert_eq!(reason.index(), index);
    }
    let names: HashSet<_> = Malformed::ALL.map(Malformed::name).into();
    assert_eq!(names.len(), Malformed::COUNT);
}

#[test]
fn names_are_the_variants_in_snake_case() {
    for reason in Malformed::ALL {
        let mut snake = String::new();
        for c in format!("{reason:?}").chars() {
            if c.is_uppercase() && !snake.is_empty() {
                snake.push('_');
            }
            snake.extend(c.to_lowercase());
        }
        assert_eq!(reason.name(), snake);
        assert_eq!(reason.to_string(), snake);
    }
}
