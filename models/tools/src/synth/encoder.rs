//! Tensors of a published codec that decoding does without: the encoder, and what only training needs.

use heartstream_models::{heartcodec::HeartCodecConfig, weights::Expected};

/// Residual units of a block, as in the decoder.
const UNITS: usize = 5;

/// The tensors, all of them floats.
pub(super) fn unused_tensors(config: &HeartCodecConfig) -> Vec<Expected> {
    let HeartCodecConfig { dim, codebook_size, codebook_dim, num_quantizers, latent_hidden_dim, .. } = *config;
    let mut tensors = vec![
        Expected::new("flow_matching.vq_embed.project_in.weight", &[codebook_dim, dim]),
        Expected::new("flow_matching.vq_embed.project_in.bias", &[codebook_dim]),
        Expected::new("flow_matching.zero_cond_embedding1", &[dim]),
    ];
    for quantizer in 0..num_quantizers {
        let codebook = format!("flow_matching.vq_embed.layers.{quantizer}._codebook");
        tensors.push(Expected::new(format!("{codebook}.embed_avg"), &[1, codebook_size, codebook_dim]));
        tensors.push(Expected::new(format!("{codebook}.cluster_size"), &[1, codebook_size]));
    }
    let mut add =
        |name: String, shape: &[usize]| tensors.push(Expected::new(format!("scalar_model.encoder.{name}"), shape));
    let mut normed = |name: &str, shape: [usize; 3]| {
        add(format!("{name}.parametrizations.weight.original0"), &[shape[0], 1, 1]);
        add(format!("{name}.parametrizations.weight.original1"), &shape);
        add(format!("{name}.bias"), &shape[..1]);
    };
    let (narrow, taps) = (config.init_channel, config.default_kernel_size);
    let blocks = config.upsample_factors.len();
    normed("0", [narrow, 1, taps]);
    // The encoder's blocks are the decoder's from its end.
    for (block, factor) in config.upsample_factors.iter().rev().enumerate() {
        let (inputs, outputs, place) = (narrow << block, narrow << (block + 1), block + 2);
        for unit in 0..UNITS {
            normed(&format!("{place}.convs.{unit}.conv1"), [inputs, inputs, config.res_kernel_size]);
            normed(&format!("{place}.convs.{unit}.conv2"), [inputs, inputs, 1]);
        }
        normed(&format!("{place}.down_conv.layer"), [outputs, inputs, 2 * factor]);
    }
    normed(&(blocks + 2).to_string(), [latent_hidden_dim, narrow << blocks, taps]);
    add("1.conv.weight".to_owned(), &[narrow, narrow, taps]);
    add("1.conv.bias".to_owned(), &[narrow]);
    add("1.activation.weight".to_owned(), &[1]);
    for block in 2..blocks + 2 {
        add(format!("{block}.down_conv.activation.weight"), &[1]);
        for unit in 0..UNITS {
            add(format!("{block}.convs.{unit}.activation1.weight"), &[1]);
            add(format!("{block}.convs.{unit}.activation2.weight"), &[1]);
        }
    }
    tensors
}

#[cfg(test)]
mod tests {
    use heartstream_models::heartcodec::expected_tensors;

    use super::*;

    #[test]
    fn the_published_codec_has_its_published_count_of_numbers() {
        let config = HeartCodecConfig::published();
        let tensors = expected_tensors(&config).into_iter().chain(unused_tensors(&config));
        let numbers: usize = tensors.map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        // 818 tensors of 1 659 568 725 elements, of which 8 are one flag each.
        assert_eq!(numbers, 1_659_568_725 - 8);
    }
}
