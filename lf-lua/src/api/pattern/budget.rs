//! Steps, and who decides every so many of them whether to go on.

/// Steps between two questions: some tens of microseconds.
const STEPS_PER_CHECK: usize = 10_000;

/// Why a call ends without a result.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The budget is used up.
    Budget,
    /// What the engine would say.
    Error(String),
}

impl Stop {
    pub(super) fn message(self) -> String {
        match self {
            Self::Budget => "budget".to_owned(),
            Self::Error(message) => message,
        }
    }
}

pub(super) struct Budget<'a> {
    left: usize,
    check: &'a dyn Fn() -> bool,
}

impl<'a> Budget<'a> {
    /// A budget of one call, which asks `check` whether to go on.
    pub(super) fn new(check: &'a dyn Fn() -> bool) -> Self {
        Self { left: STEPS_PER_CHECK, check }
    }

    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Stop> {
        match self.left.checked_sub(steps) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = STEPS_PER_CHECK;
                if (self.check)() { Ok(()) } else { Err(Stop::Budget) }
            }
        }
    }
}
