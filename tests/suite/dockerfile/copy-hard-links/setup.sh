ln one two
ln one dir/three
