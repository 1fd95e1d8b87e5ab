//! Tensors of a HeartMuLa checkpoint: names and shapes, derived from its config.

use super::config::{HeartMulaConfig, TransformerConfig};
use crate::weights::Expected;

/// Every tensor that the language model needs.
pub fn expected_tensors(config: &HeartMulaConfig) -> Vec<Expected> {
    let HeartMulaConfig { backbone, decoder, text_vocab_size, audio_vocab_size, audio_num_codebooks, muq_dim } = config;
    let (width, inner) = (backbone.embed_dim, decoder.embed_dim);
    let mut tensors = vec![
        Expected::new("text_embeddings.weight", &[*text_vocab_size, width]),
        Expected::new("audio_embeddings.weight", &[audio_vocab_size * audio_num_codebooks, width]),
        Expected::new("unconditional_text_embedding.weight", &[1, width]),
        Expected::new("projection.weight", &[inner, width]),
        Expected::new("codebook0_head.weight", &[*audio_vocab_size, width]),
        Expected::new("audio_head", &[audio_num_codebooks - 1, inner, *audio_vocab_size]),
        Expected::new("muq_linear.weight", &[width, *muq_dim]),
        Expected::new("muq_linear.bias", &[width]),
    ];
    transformer_tensors("backbone", backbone, &mut tensors);
    transformer_tensors("decoder", decoder, &mut tensors);
    tensors
}

/// Those of one transformer, whose names begin with `prefix`.
pub(crate) fn transformer_tensors(prefix: &str, config: &TransformerConfig, tensors: &mut Vec<Expected>) {
    let (width, hidden) = (config.embed_dim, config.intermediate_dim);
    let keys = config.num_kv_heads * config.head_dim();
    for layer in 0..config.num_layers {
        let mut add =
            |name: &str, shape: &[usize]| tensors.push(Expected::new(format!("{prefix}.layers.{layer}.{name}"), shape));
        add("sa_norm.scale", &[width]);
        add("attn.q_proj.weight", &[width, width]);
        add("attn.k_proj.weight", &[keys, width]);
        add("attn.v_proj.weight", &[keys, width]);
        add("attn.output_proj.weight", &[width, width]);
        add("mlp_norm.scale", &[width]);
        add("mlp.w1.weight", &[hidden, width]);
        add("mlp.w2.weight", &[width, hidden]);
        add("mlp.w3.weight", &[hidden, width]);
    }
    tensors.push(Expected::new(format!("{prefix}.norm.scale"), &[width]));
}
