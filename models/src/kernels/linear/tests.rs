//! Tests of linear layers: products in pieces with their gradients, and fused additions.

use candle_core::Var;

use super::*;
use crate::kernels::test_tensors::{noise, values};

#[test]
fn a_long_product_that_is_learnt_from_is_the_same_in_pieces_and_so_are_its_gradients() {
    let (weight, bias) = (noise(1, &[3, 4]), noise(2, &[3]));
    let tracked = [&weight, &bias].map(|tensor| Var::from_tensor(tensor).expect("a variable"));
    let (xs, by) = (noise(3, &[LONG, 4]), noise(4, &[LONG, 3]));
    let transposed = tracked[0].t().expect("two dimensions");
    let pieces = learnt_from(&xs, &transposed).expect("long enough to be cut");
    let cut = in_pieces(&xs, &transposed, Some(&tracked[1]), pieces).expect("it fits");
    let whole = xs.matmul(&transposed).and_then(|ys| ys.broadcast_add(&tracked[1])).expect("it fits");
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4 * (1.0 + b.abs()));
    assert!(close(&values(&cut), &values(&whole)));
    let gradients = |ys: &Tensor| (ys * &by).and_then(|ys| ys.sum_all()).and_then(|sum| sum.backward());
    let (cut, whole) = (gradients(&cut).expect("gradients"), gradients(&whole).expect("gradients"));
    for variable in &tracked {
        let of = |found: &candle_core::backprop::GradStore| values(found.get(variable).expect("a gradient"));
        // A sum of 32768 products in another order.
        assert!(of(&cut).iter().zip(of(&whole)).all(|(a, b)| (a - b).abs() < 0.05), "{:?} {:?}", of(&cut), of(&whole));
    }
    assert!(learnt_from(&xs, &weight.t().expect("two dimensions")).is_none(), "nothing is learnt from it");
}

#[test]
fn what_is_added_in_a_product_is_as_if_it_were_added_afterwards() {
    let (weight, bias) = (noise(1, &[21, 40]), noise(2, &[21]));
    let (xs, to) = (noise(3, &[2, 5, 40]), noise(4, &[2, 5, 21]));
    let linear = Linear::new(&weight, Some(bias.clone())).expect("a layer");
    let found = values(&linear.forward_added(&xs, &to).expect("a product"));
    let expected = values(&(&to + linear.forward(&xs).expect("a product")).expect("a sum"));
    assert!(found == expected, "bit for bit");
    // In training, the formula is used.
    let weight = Var::from_tensor(&weight).expect("a variable");
    let learning = Linear::new(&weight, Some(bias)).expect("a layer").forward_added(&xs, &to).expect("a product");
    assert!(learning.track_op());
    for (found, expected) in values(&learning).iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{found} for {expected}");
    }
    assert!(linear.forward_added(&xs, &xs).is_err() && linear.forward_added(&to, &to).is_err());
}
