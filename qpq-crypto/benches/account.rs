//! What accounts and servers pay outside groups, with criterion:
//! `cargo bench -p qpq-crypto --bench account`, a case by name: `-- envelope`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};

#[path = "account/cases.rs"]
mod cases;

impl cases::Measure for Criterion {
    fn case<T>(&mut self, name: &str, mut operation: impl FnMut() -> T) {
        self.bench_function(name, |bencher| bencher.iter(&mut operation));
    }

    fn prepared<T, U>(
        &mut self,
        name: &str,
        mut prepare: impl FnMut() -> T,
        mut operation: impl FnMut(T) -> U,
    ) {
        self.bench_function(name, |bencher| {
            bencher.iter_batched(&mut prepare, &mut operation, BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, cases::all);
criterion_main!(benches);
