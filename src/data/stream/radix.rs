//! How many nodes a radix tree of Redis has, for XINFO STREAM to tell.
//!
//! In such a tree a run of bytes without a branch is one node, a branch is another, and so is the
//! end of a key. This file only counts; nothing is kept in such a tree here.

/// How many nodes a tree of these keys has, which are sorted and all different.
pub fn node_count(keys: &[[u8; 16]]) -> usize {
    match keys {
        [] => 1,
        keys => count_from(keys, 0),
    }
}

/// The same for the part of a tree that begins behind the first `depth` bytes, which all keys have
/// in common.
fn count_from(keys: &[[u8; 16]], depth: usize) -> usize {
    let (Some(first), Some(last)) = (keys.first(), keys.last()) else { return 0 };
    let run = first[depth..].iter().zip(&last[depth..]).take_while(|(a, b)| a == b).count();
    let branch = depth + run;
    let below: usize = match keys {
        [_] => 0,
        _ => keys.chunk_by(|a, b| a[branch] == b[branch]).map(|k| count_from(k, branch + 1)).sum(),
    };
    usize::from(run > 0) + 1 + below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_branches_and_ends() {
        let key = |ends: &[u8]| {
            let mut key = [7; 16];
            key[16 - ends.len()..].copy_from_slice(ends);
            key
        };
        assert_eq!(node_count(&[]), 1);
        assert_eq!(node_count(&[key(&[])]), 2);
        // A run, a branch, and an end for each.
        assert_eq!(node_count(&[key(&[1]), key(&[2])]), 4);
        assert_eq!(node_count(&[key(&[1]), key(&[2]), key(&[9])]), 5);
        // Behind the branch each has a run of its own.
        assert_eq!(node_count(&[key(&[1, 1, 1]), key(&[2, 2, 2])]), 6);
        assert_eq!(node_count(&[key(&[1, 1, 1]), key(&[1, 2, 2]), key(&[2, 2, 2])]), 9);
        assert_eq!(node_count(&[[0; 16], [1; 16]]), 5);
    }
}
