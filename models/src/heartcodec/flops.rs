//! Operations and weights of a window, computed from the config alone.

use super::config::HeartCodecConfig;

impl HeartCodecConfig {
    /// Weights of the estimator's matrices that one step reads.
    pub fn estimator_weights(&self) -> u64 {
        let (first, second) = (self.inner_dim(), 2 * self.inner_dim());
        let projection = |inputs: usize, outputs: usize| 3 * inputs * outputs + outputs * outputs;
        let block = |width: usize| 4 * width * width + 3 * width * Self::hidden_dim(width);
        let weights = projection(self.in_channels, first)
            + projection(self.in_channels + first, second)
            + projection(second, self.out_channels)
            + self.num_layers * block(first)
            + self.num_layers_2 * block(second);
        weights as u64
    }

    /// Floating-point operations of one step of `rows` batch entries of `latents` latent frames: two for each weight
    /// and latent frame, and attention.
    pub fn estimator_flop(&self, rows: u64, latents: u64) -> u64 {
        let (first, second) = (self.inner_dim() as u64, 2 * self.inner_dim() as u64);
        // Every position attends to all: two products of `width` numbers.
        let attention = 4 * latents * latents * (self.num_layers as u64 * first + self.num_layers_2 as u64 * second);
        rows * (2 * self.estimator_weights() * latents + attention)
    }

    /// Weights of the vocoder's convolutions.
    pub fn vocoder_weights(&self) -> u64 {
        self.vocoder_layers().iter().map(|layer| layer.1).sum()
    }

    /// Floating-point operations of one latent frame, both channels.
    pub fn vocoder_flop(&self) -> u64 {
        self.vocoder_layers().iter().map(|(places, weights)| 2 * 2 * places * weights).sum()
    }

    /// For each layer how many places of a latent frame it is applied to, and its weights.
    fn vocoder_layers(&self) -> Vec<(u64, u64)> {
        let mut places = 1;
        let mut layers = vec![(places, self.vocoder_channels(0) * self.latent_hidden_dim * self.delay_kernel_size)];
        for (block, factor) in self.upsample_factors.iter().enumerate() {
            let (inputs, outputs) = (self.vocoder_channels(block), self.vocoder_channels(block + 1));
            layers.push((places, inputs * outputs * 2 * factor));
            places *= factor;
            let unit = outputs * outputs * (self.res_kernel_size + 1);
            layers.push((places, super::tensors::DILATIONS.len() * unit));
        }
        if self.num_samples > 1 {
            places *= self.num_samples;
            layers.push((places, self.init_channel * self.init_channel * self.default_kernel_size));
        }
        layers.push((places, self.init_channel * self.default_kernel_size));
        layers.into_iter().map(|(places, weights)| (places as u64, weights as u64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::heartcodec::HeartCodecConfig;

    #[test]
    fn the_published_codec_costs_what_was_counted() {
        let config = HeartCodecConfig::published();
        // 1.487 billion with the time embeddings and their 86 million, which see one position; 83.8 million.
        assert!((1.40e9..1.41e9).contains(&(config.estimator_weights() as f64)), "{}", config.estimator_weights());
        assert!((82e6..85e6).contains(&(config.vocoder_weights() as f64)), "{}", config.vocoder_weights());
        // A step over 29.76 s with guidance is 4.4 TFLOP, a second of sound 105 to 115 GFLOP.
        assert!(
            (4.2e12..4.6e12).contains(&(config.estimator_flop(2, 744) as f64)),
            "{}",
            config.estimator_flop(2, 744)
        );
        assert!((95e9..125e9).contains(&(25.0 * config.vocoder_flop() as f64)), "{}", config.vocoder_flop());
    }
}
