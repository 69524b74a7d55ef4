//! Pieces of the server in which threads wait for each other, compiled with loom's locks in the place of the
//! system's. Each test runs under every order in which its threads can meet (with three of them: nearly; loom also reports deadlocks and
//! wake-ups that nobody got), so that what it claims holds for all of them, and not only for those that happen.
//!
//! `cargo test --manifest-path schedules/Cargo.toml`, or `ci/soak schedules`.

/// As `src/storage/sync.rs`.
mod sync {
    pub use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
}

#[path = "../../src/storage/group.rs"]
pub mod group;

#[cfg(test)]
mod tests {
    use super::group::{Groups, Lead};
    use loom::sync::Arc;
    use loom::sync::Mutex;
    use loom::thread;

    /// What a store does with a group: one at a time, and each item once.
    struct Store {
        groups: Groups<u32, Option<u32>>,
        /// The right to write, and the groups that were written.
        written: Mutex<Vec<Vec<u32>>>,
    }

    impl Store {
        fn new() -> Arc<Store> {
            Arc::new(Store { groups: Groups::new(), written: Mutex::new(Vec::new()) })
        }

        /// Answers an item with ten times itself, in groups of at most `most`.
        fn commit(&self, item: u32, most: usize) -> Option<u32> {
            let work = |lead: &mut Lead<'_, u32, Option<u32>>| {
                let mut written = self.written.lock().unwrap();
                let group = lead.take(|group| group.len() < most);
                assert!((1..=most).contains(&group.len()));
                written.push(group.clone());
                drop(written);
                lead.answer(group.into_iter().map(|item| Some(item * 10)));
            };
            self.groups.submit(item, &work, &|| None)
        }

        fn all_written(&self) -> Vec<u32> {
            let mut all = self.written.lock().unwrap().concat();
            all.sort_unstable();
            all
        }
    }

    /// Three threads have too many orders for all of them; these are those in which a thread is interrupted at most
    /// three times, beside the times when it waits.
    fn three_threads(check: impl Fn() + Send + Sync + 'static) {
        let mut orders = loom::model::Builder::new();
        orders.preemption_bound = Some(3);
        orders.check(check);
    }

    fn on_threads(store: &Arc<Store>, items: &[u32], run: fn(&Store, u32)) {
        let (first, others) = items.split_first().unwrap();
        let threads: Vec<_> = others
            .iter()
            .map(|item| {
                let (store, item) = (store.clone(), *item);
                thread::spawn(move || run(&store, item))
            })
            .collect();
        run(store, *first);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn everybody_gets_their_own_answer_and_each_item_is_worked_off_once() {
        three_threads(|| {
            let store = Store::new();
            on_threads(&store, &[1, 2, 3], |store, item| {
                assert_eq!(store.commit(item, 3), Some(item * 10));
            });
            assert_eq!(store.all_written(), [1, 2, 3]);
            // The last one has left nobody in the lead.
            assert_eq!(store.commit(4, 3), Some(40));
        });
    }

    #[test]
    fn who_does_not_fit_into_a_group_leads_the_next() {
        three_threads(|| {
            let store = Store::new();
            on_threads(&store, &[1, 2, 3], |store, item| {
                assert_eq!(store.commit(item, 1), Some(item * 10));
            });
            assert_eq!(store.all_written(), [1, 2, 3]);
        });
    }

    #[test]
    fn the_items_of_one_thread_are_worked_off_in_its_order() {
        loom::model(|| {
            let store = Store::new();
            on_threads(&store, &[1, 2], |store, item| {
                assert_eq!(store.commit(item, 2), Some(item * 10));
                assert_eq!(store.commit(item + 10, 2), Some((item + 10) * 10));
            });
            let order = store.written.lock().unwrap().concat();
            for item in [1, 2] {
                let place = |wanted| order.iter().position(|found| *found == wanted).unwrap();
                assert!(place(item) < place(item + 10), "{order:?}");
            }
        });
    }

    #[test]
    fn who_leads_and_fails_leaves_nobody_waiting() {
        three_threads(|| {
            let store = Store::new();
            on_threads(&store, &[1, 2, 3], |store, item| {
                // Whoever leads first takes a group and gives up; as a panic would end it.
                let give_up = |lead: &mut Lead<'_, u32, Option<u32>>| {
                    let mut written = store.written.lock().unwrap();
                    let group = lead.take(|_| true);
                    let failed = written.is_empty();
                    written.push(group.clone());
                    drop(written);
                    if !failed {
                        lead.answer(group.into_iter().map(|item| Some(item * 10)));
                    }
                };
                let answer = store.groups.submit(item, &give_up, &|| None);
                let first = store.written.lock().unwrap()[0].clone();
                let expected = (!first.contains(&item)).then_some(item * 10);
                assert_eq!(answer, expected);
            });
            assert_eq!(store.all_written(), [1, 2, 3]);
        });
    }
}
