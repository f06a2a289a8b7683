//! Probabilities of a few logits: in f64 by `libm`, in the order of the logits, so that they are the same everywhere.

/// The softmax.
pub(crate) fn softmax(logits: &[f32]) -> Vec<f32> {
    let probabilities = softmax_f64(logits.iter().map(|&x| f64::from(x)));
    probabilities.into_iter().map(|p| p as f32).collect()
}

/// The same, not rounded. A logit of minus infinity has no share in it.
pub(crate) fn softmax_f64(logits: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
    let largest = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let mut exps: Vec<f64> = logits.map(|x| libm::exp(x - largest)).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter_mut().for_each(|exp| *exp /= sum);
    exps
}

/// The logistic function.
pub(crate) fn sigmoid(logit: f32) -> f32 {
    (1.0 / (1.0 + libm::exp(-f64::from(logit)))) as f32
}

/// The index of the largest; of equal ones, the first.
pub(crate) fn argmax(values: &[f32]) -> usize {
    let larger = |best: usize, i: usize| if values[i] > values[best] { i } else { best };
    (1..values.len()).fold(0, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities() {
        assert!(softmax(&[]).is_empty());
        assert_eq!(softmax(&[3.0]), [1.0]);
        assert_eq!(softmax(&[1e38, -1e38, 1e38]), [0.5, 0.0, 0.5]);
        let three = softmax(&[0.0, 1.0, 2.0]);
        assert_eq!(three, [0.090_030_57, 0.244_728_48, 0.665_240_94]);
        assert_eq!([0.0, -200.0, 200.0].map(sigmoid), [0.5, 0.0, 1.0]);
        assert_eq!(sigmoid(1.0), 0.731_058_6);
    }

    #[test]
    fn the_first_of_the_largest() {
        assert_eq!(argmax(&[0.1, 0.4, 0.4, 0.1]), 1);
        assert_eq!(argmax(&[0.5]), 0);
    }
}
