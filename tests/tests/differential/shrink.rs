/// How often a failing run is tried again to make it smaller.
const TRIES: usize = 500;

/// Leaves out of `all` what is not needed to make it fail: first halves, then smaller parts, then
/// single steps, as long as one of them can go.
pub(crate) fn shrink(mut all: Vec<usize>, fails: impl Fn(&[usize]) -> bool) -> Vec<usize> {
    let mut tries = 0;
    let mut part = all.len().div_ceil(2);
    while part > 0 {
        let before = all.len();
        let mut start = 0;
        while start < all.len() && tries < TRIES {
            let end = (start + part).min(all.len());
            let without = [&all[..start], &all[end..]].concat();
            tries += 1;
            if fails(&without) {
                all = without;
            } else {
                start = end;
            }
        }
        if part > 1 {
            part = part.div_ceil(2);
        } else if all.len() == before {
            break;
        }
    }
    all
}

#[test]
fn what_is_not_needed_is_left_out() {
    let fails = |kept: &[usize]| kept.contains(&17) && kept.contains(&400) && !kept.contains(&3);
    assert_eq!(shrink((4..1_000).collect(), fails), [17, 400]);
}
