//! Matrix products of both models, at the published shapes: rows, inputs, outputs, dtype of the weights.
//!
//! Run with `cargo bench -p heartstream-models --bench products`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heartstream_models::kernels::cpu::{KernelSet, Packed, ProductEpilogue, Rows, WeightDtype, matmul};

/// What a product is part of, its rows, inputs and outputs, and the dtype of its weights.
const PRODUCTS: [(&str, [usize; 3], WeightDtype); 4] = [
    ("language model, guided frame", [2, 3072, 8192], WeightDtype::Bf16),
    ("language model, four drafts", [10, 3072, 3072], WeightDtype::Bf16),
    ("flow matching, 93 frames", [372, 1536, 4096], WeightDtype::F32),
    ("flow matching, 93 frames", [372, 1536, 4096], WeightDtype::F16),
];

fn products(criterion: &mut Criterion) {
    let set = KernelSet::chosen();
    for (name, [rows, inputs, outputs], dtype) in PRODUCTS {
        let number = |place: usize| ((place * 37 % 101) as f32 - 50.0) / 50.0;
        let weights = Packed::new(outputs, inputs, dtype, |row, to: &mut [f32]| {
            (0..).zip(to).for_each(|(column, to)| *to = number(row * inputs + column));
        });
        let xs: Vec<f32> = (0..rows * inputs).map(number).collect();
        let mut ys = vec![0f32; rows * outputs];
        let mut group = criterion.benchmark_group(name);
        // A multiplication and an addition for each weight and row.
        group.throughput(Throughput::Elements(2 * (rows * inputs * outputs) as u64));
        group.bench_function(BenchmarkId::new(format!("{rows}x{inputs}x{outputs}"), dtype), |bencher| {
            bencher.iter(|| matmul(set, Rows::new(&xs, inputs), &weights, ProductEpilogue::default(), &mut ys));
        });
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
