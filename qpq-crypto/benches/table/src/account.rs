//! What accounts and servers pay outside groups, each case alone.

use std::hint::black_box;

use crate::{
    cases::{self, Measure},
    measure::{self, Effort},
    table,
};

pub fn print(effort: Effort) {
    println!("#### Signatures, envelopes, login, transparency log\n");
    table::head(&[]);
    cases::all(&mut Rows(effort));
    println!();
}

struct Rows(Effort);

impl Measure for Rows {
    fn case<T>(&mut self, name: &str, mut operation: impl FnMut() -> T) {
        self.prepared(name, || (), |()| operation());
    }

    fn prepared<T, U>(
        &mut self,
        name: &str,
        prepare: impl FnMut() -> T,
        mut operation: impl FnMut(T) -> U,
    ) {
        let figure = measure::alone(self.0, prepare, |prepared| {
            black_box(operation(black_box(prepared)));
        });
        table::figure(name, figure);
    }
}
