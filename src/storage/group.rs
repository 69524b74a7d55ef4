//! Group commit without the commit: who of the threads that come at the same moment does the work for all.
//!
//! Each thread puts its item into a queue. The one at the front leads: it takes what is in the queue as a group,
//! works it off, hands out the answers, and makes the thread that is then at the front the next to lead. A thread
//! that comes alone costs no switch between threads, and nobody waits for more than two groups.
//!
//! `schedules/` runs this file under every order that its threads can meet in; there `super::sync` is loom's.

use super::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::collections::VecDeque;
use std::sync::PoisonError;

/// The queue, with items of type `T` that are answered with an `A`.
pub struct Groups<T, A> {
    /// Never held together with another lock.
    queue: Mutex<Queue<T, A>>,
}

struct Queue<T, A> {
    waiting: VecDeque<(T, Arc<Ticket<A>>)>,
    /// Whether some thread leads or is about to. If not, nothing is waiting.
    led: bool,
}

/// Where a waiting thread finds out how to go on.
struct Ticket<A> {
    turn: Mutex<Turn<A>>,
    changed: Condvar,
}

enum Turn<A> {
    /// Another thread leads; its group may contain this thread's item.
    Wait,
    /// This thread is at the front of the queue and leads the next group.
    Lead,
    /// This thread's item has been worked off.
    Answer(A),
}

impl<A> Ticket<A> {
    fn set(&self, turn: Turn<A>) {
        *lock(&self.turn) = turn;
        self.changed.notify_one();
    }

    /// Waits for something to do or to return.
    fn wait(&self) -> Turn<A> {
        let mut turn = lock(&self.turn);
        while matches!(*turn, Turn::Wait) {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::replace(&mut *turn, Turn::Wait)
    }
}

impl<T, A> Groups<T, A> {
    /// Without anybody.
    pub fn new() -> Groups<T, A> {
        Groups { queue: Mutex::new(Queue { waiting: VecDeque::new(), led: false }) }
    }

    /// Has an item worked off, by this thread or another one, and returns its answer. Whoever leads calls `work`,
    /// which takes a group and answers it. What a group's items are answered with that have no answer when `work`
    /// ends, even by a panic, is `lost`.
    pub fn submit(&self, item: T, work: &dyn Fn(&mut Lead<'_, T, A>), lost: &dyn Fn() -> A) -> A {
        let ticket = Arc::new(Ticket { turn: Mutex::new(Turn::Wait), changed: Condvar::new() });
        if self.enqueue(item, &ticket) {
            ticket.set(Turn::Lead);
        }
        loop {
            match ticket.wait() {
                Turn::Answer(answer) => return answer,
                Turn::Lead => work(&mut Lead { groups: self, tickets: VecDeque::new(), lost }),
                // Not what waiting ends with, and harmless.
                Turn::Wait => {}
            }
        }
    }

    /// Puts an item into the queue. True if the caller has to lead.
    fn enqueue(&self, item: T, ticket: &Arc<Ticket<A>>) -> bool {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back((item, Arc::clone(ticket)));
        !std::mem::replace(&mut queue.led, true)
    }
}

impl<T, A> Default for Groups<T, A> {
    fn default() -> Groups<T, A> {
        Groups::new()
    }
}

/// A thread's lead, which passes to the next one when this goes: the others must not wait for ever.
pub struct Lead<'g, T, A> {
    groups: &'g Groups<T, A>,
    /// Of the group's items that have no answer yet.
    tickets: VecDeque<Arc<Ticket<A>>>,
    lost: &'g dyn Fn() -> A,
}

impl<T, A> Lead<'_, T, A> {
    /// Takes items from the front of the queue as long as `more` says so of what has been taken. The first is
    /// always taken.
    pub fn take(&mut self, mut more: impl FnMut(&[T]) -> bool) -> Vec<T> {
        let mut group = Vec::new();
        let mut queue = lock(&self.groups.queue);
        while let Some((item, ticket)) = queue.waiting.pop_front() {
            group.push(item);
            self.tickets.push_back(ticket);
            if !more(&group) {
                break;
            }
        }
        group
    }

    /// Answers what was taken, in that order.
    pub fn answer(&mut self, answers: impl IntoIterator<Item = A>) {
        for (ticket, answer) in self.tickets.drain(..).zip(answers) {
            ticket.set(Turn::Answer(answer));
        }
    }
}

impl<T, A> Drop for Lead<'_, T, A> {
    fn drop(&mut self) {
        for ticket in self.tickets.drain(..) {
            ticket.set(Turn::Answer((self.lost)()));
        }
        let mut queue = lock(&self.groups.queue);
        match queue.waiting.front() {
            Some((_, next)) => next.set(Turn::Lead),
            None => queue.led = false,
        }
    }
}

// What these locks guard is complete at every moment: a queue, an answer.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
