SELECT pgtq.tend();
