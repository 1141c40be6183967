//! Header maps that are used again, so that a request need not allocate new ones. Not their content.

use std::sync::{Mutex, PoisonError};

use http::HeaderMap;

/// Most maps that are kept: about as many as are in use at once on a busy worker.
const MAX_KEPT: usize = 64;

/// A map that can hold more is not kept, so that one large head does not occupy memory for ever.
const MAX_CAPACITY: usize = 64;

/// The empty maps of one worker.
#[derive(Debug, Default)]
pub(crate) struct HeaderMaps(Mutex<Vec<HeaderMap>>);

impl HeaderMaps {
    /// Takes an empty map, or makes one with this capacity.
    pub(crate) fn take(&self, capacity: usize) -> HeaderMap {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        kept.unwrap_or_else(|| HeaderMap::with_capacity(capacity))
    }

    /// Keeps a map for another head.
    pub(crate) fn give(&self, mut map: HeaderMap) {
        if !(1..=MAX_CAPACITY).contains(&map.capacity()) {
            return;
        }
        map.clear();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < MAX_KEPT {
            kept.push(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_map_comes_back_empty_and_a_large_one_not_at_all() {
        let maps = HeaderMaps::default();
        let mut map = maps.take(10);
        map.insert("secret", HeaderValue::from_static("1"));
        let capacity = map.capacity();
        maps.give(map);
        let again = maps.take(1);
        assert!(again.is_empty() && again.capacity() == capacity);
        maps.give(HeaderMap::with_capacity(1_000));
        assert!(maps.take(1).capacity() < 10);
    }
}
