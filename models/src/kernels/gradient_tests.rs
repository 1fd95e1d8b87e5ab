//! Tests of the differentiable formulas: they agree with the kernels, and their gradients are right.

use candle_core::{Device, Result, Tensor, Var};

use super::{
    AdaLnModulation, HeadDims, KvLayer, ProductResult, RmsNorm, RotaryTable, attention::full_attention,
    base_frequencies, cpu::WeightDtype, gated_sum, layer_norm, prelu, silu_up, softmax,
};
use crate::kernels::test_tensors::{noise, values};

/// Runs `op` by kernel and by formula, compares the results, and compares the formula's gradient with a finite
/// difference.
fn check(name: &str, shape: &[usize], op: impl Fn(&Tensor) -> Result<Tensor>) {
    let xs = noise(1, shape);
    let tracked = Var::from_tensor(&xs).expect("a variable");
    let (kernel, formula) = (op(&xs).expect(name), op(&tracked).expect(name));
    assert!(!kernel.track_op() && formula.track_op(), "{name}");
    for (kernel, formula) in values(&kernel).iter().zip(values(&formula)) {
        assert!((kernel - formula).abs() < 1e-5 * (1.0 + formula.abs()), "{name}: {kernel} and {formula}");
    }
    // A loss that weighs every result differently, and how it changes along one direction.
    let weights = noise(2, kernel.dims());
    let loss = |ys: &Tensor| (ys * &weights).and_then(|products| products.sum_all()).expect(name);
    let gradients = loss(&formula).backward().expect(name);
    let direction = noise(3, shape);
    let along = (gradients.get(&tracked).expect(name) * &direction).and_then(|product| product.sum_all()).expect(name);
    let along = along.to_scalar::<f32>().expect("one number");
    let moved = |step: f64| {
        let xs = (&xs + (&direction * step).expect(name)).expect(name);
        values(&op(&xs).expect(name))
            .iter()
            .zip(values(&weights))
            .map(|(y, w)| f64::from(*y) * f64::from(w))
            .sum::<f64>()
    };
    let difference = (moved(1e-3) - moved(-1e-3)) / 2e-3;
    let error = (difference - f64::from(along)).abs();
    assert!(error < 2e-2 * (1.0 + difference.abs()), "{name}: a gradient of {along} where {difference} was measured");
}

#[test]
fn every_operation_can_be_trained_and_computes_the_same_then() {
    let table = noise(5, &[2, 6, 24]);
    let modulation = AdaLnModulation { table: &table, shift: 0, scale: 1 };
    let rotary = RotaryTable::new(&base_frequencies(10_000.0, 8), 9, &Device::Cpu).expect("a table");
    let others = noise(6, &[2, 9, 24]);
    let norm = RmsNorm::new(noise(4, &[24]), 1e-5);
    check("root mean square", &[2, 9, 24], |xs| norm.forward(xs));
    check("root mean square, modulated", &[2, 9, 24], |xs| norm.forward_modulated(xs, modulation));
    check("layer norm", &[2, 9, 24], |xs| layer_norm(xs, 1e-6, modulation));
    check("gated sum", &[2, 9, 24], |xs| gated_sum(&others, &ProductResult::Plain(xs.clone()), &table, 2));
    check("silu and up", &[2, 9, 24], silu_up);
    check("prelu", &[2, 9, 24], |xs| prelu(xs, 0.2));
    check("softmax", &[2, 9, 24], softmax);
    check("rotary", &[2, 3, 7, 8], |xs| rotary.apply(xs, 2));
    check("attention to all", &[2, 9, 24], |xs| full_attention(xs, xs, &others, 8, &rotary));
    let sizes = HeadDims { heads: 3, kv_heads: 1, head_dim: 8 };
    check("attention to what was before", &[2, 9, 24], |xs| {
        let keys = xs.narrow(2, 0, 8)?;
        KvLayer::new(sizes, 2, 9, WeightDtype::F32, &Device::Cpu).attend(xs, &keys, &keys, &rotary, 0)
    });
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let rotary = RotaryTable::new(&base_frequencies(10_000.0, 8), 9, &Device::Cpu).expect("a table");
    let sizes = HeadDims { heads: 3, kv_heads: 1, head_dim: 8 };
    let mut layer = KvLayer::new(sizes, 1, 9, WeightDtype::F32, &Device::Cpu);
    let (queries, keys) = (noise(1, &[1, 10, 24]), noise(2, &[1, 10, 8]));
    assert!(layer.attend(&queries, &keys, &keys, &rotary, 0).is_err(), "one position too many");
    assert!(layer.attend(&queries, &queries, &queries, &rotary, 0).is_err(), "three key heads");
    assert!(silu_up(&noise(1, &[2, 3])).is_err(), "an odd width");
    let table = noise(5, &[2, 6, 24]);
    assert!(gated_sum(&queries, &ProductResult::Plain(queries.clone()), &table, 0).is_err(), "a table for two entries");
}
