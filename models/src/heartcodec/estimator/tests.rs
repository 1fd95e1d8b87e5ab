use super::*;

#[test]
fn a_time_step_is_written_as_cosines_then_sines() {
    let features: Vec<f32> =
        time_features(&[0.0, 0.001], &Device::Cpu).and_then(|t| Ok(t.get(1)?.to_vec1()?)).expect("features");
    assert!((features[0] - 1f32.cos()).abs() < 1e-6 && (features[256] - 1f32.sin()).abs() < 1e-6);
    assert!(features[..256].windows(2).all(|pair| pair[0] <= pair[1]), "frequencies must fall");
    let zero: Vec<f32> = time_features(&[0.0], &Device::Cpu).and_then(|t| Ok(t.get(0)?.to_vec1()?)).expect("features");
    assert!(zero[..256].iter().all(|x| *x == 1.0) && zero[256..].iter().all(|x| *x == 0.0));
}
