"""The parts of the heads view: the names of its measures, its static picture and its sentence."""
