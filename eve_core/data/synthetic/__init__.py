"""The synthetic world: drawn scenes of coloured shapes, in the public sets' own file formats."""
