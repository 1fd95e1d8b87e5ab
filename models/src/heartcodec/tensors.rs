//! Tensors of the decoding side of a HeartCodec checkpoint, derived from its config.

use super::config::HeartCodecConfig;
use crate::weights::Expected;

/// Residual units of a vocoder block, with the dilations 1, 3, 5, 7, 9 (`ResDecoderBlock` of the reference).
pub(super) const DILATIONS: [usize; 5] = [1, 3, 5, 7, 9];
/// Sinusoids that a time step is written as (`flow_t_size` of the reference).
pub(super) const TIME_FEATURES: usize = 512;

/// Every tensor that decoding needs.
pub fn expected_tensors(config: &HeartCodecConfig) -> Vec<Expected> {
    let mut tensors = Vec::new();
    flow_tensors(config, &mut tensors);
    tensors.extend(expected_tensors_of_vocoder(config));
    tensors
}

fn flow_tensors(config: &HeartCodecConfig, tensors: &mut Vec<Expected>) {
    let HeartCodecConfig { dim, codebook_size, codebook_dim, num_quantizers, in_channels, out_channels, .. } = *config;
    let (first, second) = (config.inner_dim(), 2 * config.inner_dim());
    let mut add = |name: String, shape: &[usize]| tensors.push(Expected::new(format!("flow_matching.{name}"), shape));
    for quantizer in 0..num_quantizers {
        add(format!("vq_embed.layers.{quantizer}._codebook.embed"), &[1, codebook_size, codebook_dim]);
    }
    let mut linear = |name: &str, outputs: usize, inputs: usize| {
        add(format!("{name}.weight"), &[outputs, inputs]);
        add(format!("{name}.bias"), &[outputs]);
    };
    // Rows of another width need a projection back (`vector_quantize_pytorch.ResidualVQ`).
    if codebook_dim != dim {
        linear("vq_embed.project_out", dim, codebook_dim);
    }
    linear("cond_feature_emb", dim, dim);
    for (suffix, width) in [("", first), ("_2", second)] {
        let adaln = format!("estimator.adaln_single{suffix}");
        linear(&format!("{adaln}.emb.timestep_embedder.linear_1"), width, TIME_FEATURES);
        linear(&format!("{adaln}.emb.timestep_embedder.linear_2"), width, width);
        linear(&format!("{adaln}.linear"), 6 * width, width);
    }
    for (name, outputs, inputs) in [
        ("proj_in", first, in_channels),
        ("connection_proj", second, in_channels + first),
        ("proj_out", out_channels, second),
    ] {
        add(format!("estimator.{name}.ffn_1.weight"), &[outputs, inputs, 3]);
        add(format!("estimator.{name}.ffn_1.bias"), &[outputs]);
        add(format!("estimator.{name}.ffn_2.weight"), &[outputs, outputs]);
        add(format!("estimator.{name}.ffn_2.bias"), &[outputs]);
    }
    for (suffix, width, layers) in [("", first, config.num_layers), ("_2", second, config.num_layers_2)] {
        let hidden = HeartCodecConfig::hidden_dim(width);
        add(format!("estimator.scale_shift_table{suffix}"), &[2, width]);
        for layer in 0..layers {
            let block = format!("estimator.transformer_blocks{suffix}.{layer}");
            add(format!("{block}.scale_shift_table"), &[6, width]);
            add(format!("{block}.attn_norm.weight"), &[width]);
            add(format!("{block}.mlp_norm.weight"), &[width]);
            for name in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                add(format!("{block}.attn.{name}.weight"), &[width, width]);
            }
            add(format!("{block}.mlp.gate.weight"), &[hidden, width]);
            add(format!("{block}.mlp.up.weight"), &[hidden, width]);
            add(format!("{block}.mlp.down.weight"), &[width, hidden]);
        }
    }
}

/// Every tensor that the vocoder needs. Most convolutions are stored as a direction and a length for each filter.
pub fn expected_tensors_of_vocoder(config: &HeartCodecConfig) -> Vec<Expected> {
    let mut tensors = Vec::new();
    let mut add =
        |name: String, shape: &[usize]| tensors.push(Expected::new(format!("scalar_model.decoder.{name}"), shape));
    // A filter belongs to the first dimension: to an output, or, in a transposed convolution, to an input.
    let mut normed = |name: String, shape: [usize; 3], biases: usize| {
        add(format!("{name}.parametrizations.weight.original0"), &[shape[0], 1, 1]);
        add(format!("{name}.parametrizations.weight.original1"), &shape);
        add(format!("{name}.bias"), &[biases]);
    };
    let wide = config.vocoder_channels(0);
    normed("0".to_owned(), [wide, config.latent_hidden_dim, config.delay_kernel_size], wide);
    for (block, factor) in config.upsample_factors.iter().enumerate() {
        let (inputs, outputs) = (config.vocoder_channels(block), config.vocoder_channels(block + 1));
        let place = block + 1;
        normed(format!("{place}.up_conv.layer"), [inputs, outputs, 2 * factor], outputs);
        for unit in 0..DILATIONS.len() {
            normed(format!("{place}.convs.{unit}.conv1"), [outputs, outputs, config.res_kernel_size], outputs);
            normed(format!("{place}.convs.{unit}.conv2"), [outputs, outputs, 1], outputs);
        }
    }
    let (narrow, taps) = (config.init_channel, config.default_kernel_size);
    let after = config.upsample_factors.len() + 1;
    let last = if config.num_samples > 1 { after + 1 } else { after };
    normed(last.to_string(), [1, narrow, taps], 1);
    for (block, unit) in
        (0..config.upsample_factors.len()).flat_map(|block| (0..DILATIONS.len()).map(move |unit| (block, unit)))
    {
        add(format!("{}.convs.{unit}.activation1.weight", block + 1), &[1]);
        add(format!("{}.convs.{unit}.activation2.weight", block + 1), &[1]);
    }
    if config.num_samples > 1 {
        add(format!("{after}.conv.weight"), &[narrow, narrow, taps]);
        add(format!("{after}.conv.bias"), &[narrow]);
        add(format!("{after}.activation.weight"), &[1]);
    }
    tensors
}
