"""Label maps to MR images: tissue parameters, signal equations, anatomy and image formation, all seeded."""
