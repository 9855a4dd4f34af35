use super::*;

#[test]
fn placeholder_is_that_of_nix() {
    // `nix-instantiate --eval -E 'builtins.placeholder "out"'`
    assert_eq!(placeholder("out"), "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9");
}
