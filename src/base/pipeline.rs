//! One piece of work in two stages on two threads: the first hands over parts, the second takes
//! them in order. The second thread ends before the work is done.
//!
//! Must not know what the work is.

use std::io;
use std::sync::mpsc;
use std::thread;

/// Parts that lie between the stages at most.
const DEPTH: usize = 4;

/// Runs `first` on this thread and `second` on another, for every part that `first` gives to the
/// function it gets. Returns what `first` returns.
///
/// # Errors
/// That of `second`, after which `first` cannot give any more parts; else that of `first`, or why
/// no thread could be started.
pub fn run<T: Send, R>(
    first: impl FnOnce(&mut dyn FnMut(T) -> io::Result<()>) -> io::Result<R>,
    second: impl FnMut(T) -> io::Result<()> + Send,
) -> io::Result<R> {
    thread::scope(|scope| {
        let (sender, parts) = mpsc::sync_channel(DEPTH);
        let second = thread::Builder::new()
            .name("second stage".to_owned())
            .spawn_scoped(scope, move || parts.into_iter().try_for_each(second))?;
        let result = first(&mut |part| {
            sender.send(part).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
        });
        drop(sender);
        match second.join() {
            Ok(ended) => ended.and(result),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(give: &mut dyn FnMut(u32) -> io::Result<()>) -> io::Result<&'static str> {
        (0..1_000).try_for_each(give)?;
        Ok("all")
    }

    #[test]
    fn parts_arrive_in_order() {
        let mut seen = Vec::new();
        let result = run(numbers, |number| {
            seen.push(number);
            Ok(())
        });
        assert_eq!(result.unwrap(), "all");
        assert!(seen.into_iter().eq(0..1_000));
    }

    #[test]
    fn either_stage_ends_the_work() {
        let refused = run(numbers, |number| match number {
            500 => Err(io::Error::other("refused")),
            _ => Ok(()),
        });
        assert_eq!(refused.unwrap_err().to_string(), "refused");
        let mut seen = 0;
        let broken = run::<u32, ()>(
            |give| {
                give(1)?;
                Err(io::Error::other("broken"))
            },
            |number| {
                seen += number;
                Ok(())
            },
        );
        assert_eq!((broken.unwrap_err().to_string(), seen), ("broken".to_owned(), 1));
    }
}
